# Tables and figures, from records: seconds, on the login node.
localrules:
    table,
    figure,
    metrics,
    claims,


rule table:
    input:
        lambda wildcards: sources(wildcards.artefact),
    output:
        report(
            multiext("results/tables/{artefact}", ".md", ".csv", ".tex"),
            category="Tables",
            caption="../report/artefact.rst",
        ),
    log:
        "logs/table/{artefact}.log",
    shell:
        "python -m fedgrid table {wildcards.artefact} 2>&1 | tee {log}"


rule figure:
    input:
        lambda wildcards: sources(wildcards.artefact),
    output:
        report(
            multiext("results/figures/{artefact}", ".svg", ".png", ".pdf", ".csv"),
            category="Figures",
            caption="../report/artefact.rst",
        ),
    log:
        "logs/figure/{artefact}.log",
    shell:
        "python -m fedgrid figure {wildcards.artefact} 2>&1 | tee {log}"


rule metrics:
    input:
        [sources(name) for name in MAIN],
    output:
        "results/metrics.json",
    log:
        "logs/metrics.log",
    shell:
        "python -m fedgrid metrics 2>&1 | tee {log}"


# The paper's claims, and whether they hold.
rule claims:
    input:
        [sources(name) for name in MAIN],
    output:
        "results/README.md",
    log:
        "logs/claims.log",
    shell:
        "python -m fedgrid claims 2>&1 | tee {log}"


# A target of its own name for each artefact: `snakemake table4`.
for name in ARTEFACTS:
    if not (name == "quickstart" and name in CAMPAIGNS):

        rule:
            name:
                name
            input:
                records(name) + outputs(name),
