# MLflow shows the records: in ./mlflow.db, or on the server that MLFLOW_TRACKING_URI names. Never two jobs at once.
rule publish:
    input:
        lambda wildcards: results(wildcards.artefact),
    output:
        touch("mlruns/{artefact}.published"),
    log:
        "logs/publish/{artefact}.log",
    resources:
        mlflow=1,
    shell:
        "python -m fedgrid publish {wildcards.artefact} 2>&1 | tee {log}"


rule mlflow:
    input:
        expand("mlruns/{artefact}.published", artefact=PAPER),
