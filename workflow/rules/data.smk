# Download, and division among clients.
for dataset in DATASETS:

    rule:
        name:
            f"fetch_{dataset}"
        output:
            raw_files(dataset),
        log:
            f"logs/fetch/{dataset}.log",
        params:
            dataset=dataset,
        shell:
            "python -m fedgrid fetch {params.dataset} 2>&1 | tee {log}"


rule partition:
    input:
        lambda wildcards: ancient(raw_files(PARTITIONS[wildcards.partition].dataset)),
    output:
        "data/partitions/{partition}.npz",
    log:
        "logs/partition/{partition}.log",
    shell:
        "python -m fedgrid partition {wildcards.partition} 2>&1 | tee {log}"
