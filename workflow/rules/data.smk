# Download, a job for each file, where there is a network; corpora made into words; division among clients.
localrules:
    fetch,


rule fetch:
    output:
        "data/raw/{dataset}/{file}",
    log:
        "logs/fetch/{dataset}/{file}.log",
    retries: 0  # it has its own
    shell:
        "python -m fedgrid fetch {wildcards.dataset}/{wildcards.file} 2>&1 | tee {log}"


rule encode:
    input:
        lambda wildcards: ancient(raw_files(wildcards.dataset)),
    output:
        multiext("data/encoded/{dataset}/", *targets.ENCODED),
    log:
        "logs/encode/{dataset}.log",
    shell:
        "python -m fedgrid encode {wildcards.dataset} 2>&1 | tee {log}"


rule partition:
    input:
        lambda wildcards: ancient(data_files(PARTITIONS[wildcards.partition].dataset)),
    output:
        "data/partitions/{partition}.npz",
    log:
        "logs/partition/{partition}.log",
    shell:
        "python -m fedgrid partition {wildcards.partition} 2>&1 | tee {log}"
