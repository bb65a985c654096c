"""Section log: what a row of ten datasets costs to log, in a short and in a long run."""
import shutil

from measure import BINARY, read_values, run, table

ROWS = (10_000, 100_000, 1_000_000)


def log(bench):
    print("Ten datasets of one number a row, a checkpoint every 1000 rows: time to log, save and publish them, and\n"
          "memory above the process at rest. Least of the rounds.\n")
    rows = []
    for count in ROWS[:2] if bench.quick else ROWS:
        runs = []
        for number in range(bench.rounds):
            folder = bench.folder / f"log-{count}-{number}"
            folder.mkdir()
            runs.append(read_values(run([BINARY.with_name("headscope_bench_log"), count, folder])))
            shutil.rmtree(folder)
        rows.append({"rows": count, "microseconds_per_row": 1e6 * min(one["seconds"][0] for one in runs) / count,
                     "memory": max(one["memory"][0] for one in runs), "bytes": runs[0]["bytes"][0]})
    bench.results["log"] = rows
    table(["rows", "us/row", "against the first", "memory MiB", "log MB"],
          [[f"{row['rows']:,}", f"{row['microseconds_per_row']:.2f}",
            f"{row['microseconds_per_row'] / rows[0]['microseconds_per_row']:.2f}", f"{row['memory'] / 2**20:.1f}",
            f"{row['bytes'] / 1e6:.1f}"] for row in rows])
