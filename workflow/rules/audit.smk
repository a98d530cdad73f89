# The audit judges records, tables and figures; a finding that stands fails the job.
rule judge:
    input:
        lambda wildcards: [path for name in campaign(wildcards.campaign) for path in results(name)],
    output:
        "results/audit/{campaign}.json",
    log:
        "logs/audit/{campaign}.log",
    params:
        names=lambda wildcards: "" if wildcards.campaign == "paper" else wildcards.campaign,
    shell:
        "python -m fedgrid audit {params.names} 2>&1 | tee {log}"


rule audit:
    input:
        "results/audit/paper.json",
