"""Print the results of the benchmarks as one table: `python -m benchmarks.table`."""

import json

from benchmarks.results import BENCHMARKS, RESULTS


def main() -> None:
    files = [RESULTS / f"{name}.json" for name in BENCHMARKS]
    results = [json.loads(file.read_text()) for file in files if file.exists()]
    machines = {json.dumps(result["machine"]) for result in results}
    for text in machines:
        print("  ".join(f"{key}: {value}" for key, value in json.loads(text).items()))
    print("\n| what | ours | beside | ratio | target | |\n|---|---|---|---|---|---|")
    for result in results:
        for row in result["ratios"]:
            verdict = {True: "met", False: "**missed**", None: ""}[row["is_met"]]
            target = row["target"].replace(">=", "≥").replace("<=", "≤")
            print(
                f"| {row['claim']} | {_number(row['ours'])} {row['unit']} | {_number(row['other'])} ({row['note']}) "
                f"| {row['ratio']:.2f} | {target} | {verdict} |"
            )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    main()
