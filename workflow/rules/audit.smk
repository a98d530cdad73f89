# Records are sealed; the audit judges records, tables and figures; a replay runs a few cells' first rounds again.
# A finding that stands fails the job, however often it is tried.
localrules:
    manifest,
    judge,


rule manifest:
    input:
        lambda wildcards: [ancient(path) for name in campaign(wildcards.campaign) for path in records(name)],
    output:
        update("results/manifests/{campaign}.sha256"),
    log:
        "logs/manifest/{campaign}.log",
    params:
        names=operands,
    shell:
        "python -m fedgrid manifest {params.names} 2>&1 | tee {log}"


rule judge:
    input:
        results("quickstart"),
        ancient("results/manifests/quickstart.sha256"),
    output:
        touch("results/audit/quickstart.passed"),
    log:
        "logs/audit/quickstart.log",
    retries: 0
    shell:
        "python -m fedgrid audit quickstart 2>&1 | tee {log}"


rule replay:
    input:
        lambda wildcards: replayed(["quickstart"]),
        [ancient(path) for path in records("quickstart")],
        ancient("results/manifests/quickstart.sha256"),
    output:
        touch("results/audit/quickstart-replay.passed"),
    log:
        "logs/replay/quickstart.log",
    retries: 0
    resources:
        mem_mb=4000,
    shell:
        "python -m fedgrid replay quickstart 2>&1 | tee {log}"


# The paper's. No time tells what was altered since it last passed, so it is asked each time. Its inputs are not ancient:
# Snakemake leaves out a job without outputs where one before it runs and all files between them are.
rule audit:
    input:
        lambda wildcards: replayed(PAPER),
        [records(name) + outputs(name) for name in PAPER],
        "results/manifests/paper.sha256",
    log:
        "logs/audit.log",
    retries: 0
    resources:
        mem_mb=4000,
    shell:
        "(python -m fedgrid audit || stands=1; python -m fedgrid replay && exit ${{stands:-0}}) 2>&1 | tee {log}"
