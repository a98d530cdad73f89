# Records are sealed; the audit judges records, tables and figures; a replay runs a few cells' first rounds again. A finding
# that stands fails the job.
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
        lambda wildcards: [path for name in campaign(wildcards.campaign) for path in results(name)],
        ancient("results/manifests/{campaign}.sha256"),
    output:
        touch("results/audit/{campaign}.passed"),
    log:
        "logs/audit/{campaign}.log",
    params:
        names=operands,
    shell:
        "python -m fedgrid audit {params.names} 2>&1 | tee {log}"


rule replay:
    input:
        replayed,
        lambda wildcards: [ancient(path) for name in campaign(wildcards.campaign) for path in records(name)],
        ancient("results/manifests/{campaign}.sha256"),
    output:
        touch("results/audit/{campaign}-replay.passed"),
    log:
        "logs/replay/{campaign}.log",
    params:
        names=operands,
    shell:
        "python -m fedgrid replay {params.names} 2>&1 | tee {log}"


rule audit:
    input:
        "results/audit/paper.passed",
        "results/audit/paper-replay.passed",
