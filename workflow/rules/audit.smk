# Records are sealed; the audit judges records, tables and figures; a replay runs a few cells' first rounds again.
# A finding that stands fails the job, however often it is tried.
localrules:
    manifest,


rule manifest:
    input:
        lambda wildcards: [ancient(path) for name in CAMPAIGNS[wildcards.campaign] for path in records(name)],
    output:
        update("results/manifests/{campaign}.sha256"),
    log:
        "logs/manifest/{campaign}.log",
    params:
        names=lambda wildcards: "" if wildcards.campaign == CAMPAIGN else wildcards.campaign,
    shell:
        "python -m fedgrid manifest {params.names} 2>&1 | tee {log}"


# Of all that is made together. No time tells what was altered since it last passed, so it is asked each time. Its inputs are
# not ancient: Snakemake leaves out a job without outputs where one before it runs and all files between them are.
rule audit:
    input:
        lambda wildcards: replayed(MAIN),
        [records(name) + outputs(name) for name in MAIN],
        f"results/manifests/{CAMPAIGN}.sha256",
    log:
        "logs/audit.log",
    retries: 0
    resources:
        mem_mb=4000,
    shell:
        "(python -m fedgrid audit || stands=1; python -m fedgrid replay && exit ${{stands:-0}}) 2>&1 | tee {log}"
