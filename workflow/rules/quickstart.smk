# The quickstart, which stands beside the paper's artefacts: made, sealed, judged and published by itself.
localrules:
    judge,


rule quickstart:
    input:
        records("quickstart") + outputs("quickstart"),
        "mlruns/quickstart.txt",
        "results/audit/quickstart.passed",
        "results/audit/quickstart-replay.passed",


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
        ancient(records("quickstart")),
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
