#!/usr/bin/env python3
"""Draws the main queries of the dashboard over the last minutes of a Prometheus, as an SVG.

usage: draw.py PROMETHEUS_URL SECONDS > observability.svg
"""
import json
import sys
import time
import urllib.parse
import urllib.request

PANELS = [
    ("Open or half-open", 'sum by (name, key) (circuit_breaker_state{state=~"open|half_open"})'),
    ("Trips in 5 s that max_open_ratio prevented",
     "sum by (name, key) (increase(circuit_breaker_would_trip_total"
     '{prevented_by="max_open_ratio"}[5s]))'),
    ("Calls per second that a full group did not record",
     "sum by (name) (rate(circuit_breaker_unrecorded_calls_total[5s]))"),
    ("Failure ratio", "circuit_breaker_failure_ratio"),
    ("Slow-call ratio", "circuit_breaker_slow_call_ratio"),
    ("Calls per second by outcome", "sum by (outcome) (rate(circuit_breaker_calls_total[5s]))"),
    ("Probes in 5 s by outcome", "sum by (outcome) (increase(circuit_breaker_probes_total[5s]))"),
    ("Joined to the fleet", "max by (instance) (circuit_breaker_fleet_joined)"),
]
COLOURS = ["#3274d9", "#e02f44", "#e5a50a", "#299c46", "#8f3bb8", "#6e7781", "#00a3a3", "#c15c17"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 900, 96, 46, 178, 22, 26


def fetch(base, query, begin, end):
    arguments = {"query": query, "start": begin, "end": end, "step": 1}
    url = f"{base}/api/v1/query_range?{urllib.parse.urlencode(arguments)}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]["result"]


def label(metric):
    names = [metric[key] for key in ("name", "key", "outcome") if key in metric]
    return " ".join(names) or metric["instance"]


def draw(base, seconds):
    end = time.time()
    begin = end - seconds
    parts, y = [], 0
    for title, query in PANELS:
        series = fetch(base, query, begin, end)
        # What stays at zero only fills the legend.
        series = [one for one in series if any(float(value) > 0 for _, value in one["values"])]
        values = [float(value) for one in series for _, value in one["values"]]
        top = max([1.0] + [value for value in values if value == value])
        base_line = y + TOP + HEIGHT
        parts.append(f'<text x="{LEFT}" y="{y + 15}" class="title">{title}</text>')
        for share in (0, 0.5, 1):
            at = base_line - share * HEIGHT
            parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" class="grid"/>')
            place = f'x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end"'
            parts.append(f'<text {place}>{top * share:.3g}</text>')
        for number, one in enumerate(sorted(series, key=lambda one: label(one["metric"]))):
            colour = COLOURS[number % len(COLOURS)]
            points = [
                (LEFT + (at - begin) / seconds * (WIDTH - LEFT - RIGHT),
                 base_line - float(value) / top * HEIGHT)
                for at, value in one["values"] if float(value) == float(value)
            ]
            line = " ".join(f"{x:.1f},{at:.1f}" for x, at in points)
            parts.append(f'<polyline points="{line}" stroke="{colour}"/>')
            at = y + TOP + 8 + 14 * number
            place = f"M{WIDTH - RIGHT + 10} {at - 4}h14"
            parts.append(f'<path d="{place}" stroke="{colour}" class="key"/>')
            parts.append(f'<text x="{WIDTH - RIGHT + 30}" y="{at}">{label(one["metric"])}</text>')
        y = base_line + GAP
    parts.append(f'<text x="{LEFT}" y="{y - 6}">{seconds} s, from left to right</text>')
    font = 'font-family="sans-serif" font-size="11"'
    return f'''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 4}" {font}>
<style>text{{fill:#57606a}}.title{{font-size:13px;font-weight:bold}}
.grid{{stroke:#8884;fill:none}}polyline{{fill:none;stroke-width:1.6}}.key{{stroke-width:3}}</style>
<rect width="100%" height="100%" fill="#ffffff"/>
{chr(10).join(parts)}
</svg>'''


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(draw(sys.argv[1], int(sys.argv[2])))
