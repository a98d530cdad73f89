# MLflow shows the records: in ./mlflow.db, or on the server that MLFLOW_TRACKING_URI names, which compute nodes need not
# reach.
localrules:
    publish,
    mlflow,


# What publication said. Status 75: the server does not answer; that fails nobody's tables, and `mlflow` publishes later.
rule publish:
    input:
        lambda wildcards: results(wildcards.artefact),
    output:
        "mlruns/{artefact}.txt",
    log:
        "logs/publish/{artefact}.log",
    retries: 0  # it has its own patience
    shell:
        "python -m fedgrid publish {wildcards.artefact} 2>&1 | tee {log} || [ $? = 75 ] && cp {log} {output}.partial && mv {output}.partial {output}"


# The campaign's records and whichever else are there. The store knows what it lacks, so it is asked each time.
rule mlflow:
    input:
        [records(name) + outputs(name) for name in MAIN],  # not ancient: see `audit`
    log:
        "logs/publish.log",
    retries: 0
    params:
        names=list(ARTEFACTS),
    shell:
        "python -m fedgrid publish {params.names} 2>&1 | tee {log}"
