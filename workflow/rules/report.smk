# One page of all numbers, each with where it comes from.
localrules:
    report_page,


rule report_page:
    input:
        [results(name) for name in MAIN],
        ancient(f"results/manifests/{CAMPAIGN}.sha256"),
    output:
        "results/report.html",
    log:
        "logs/report.log",
    shell:
        "python -m fedgrid report 2>&1 | tee {log}"
