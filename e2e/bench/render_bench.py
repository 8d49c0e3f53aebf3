# SPDX-License-Identifier: Apache-2.0
"""How much dearer than Helm's library is a render through the manager's pool?

    bazel run //e2e/bench:render_bench

Renders the same charts with the library alone, in one Go process, and through
a warm WorkerRenderer, and prints both. The aim: at most twice the time.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

from e2e.testing import binaries

AIM = 2.0

HELPERS = """{{- define "bench.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- range $k, $v := .Values.labels }}
{{ $k }}: {{ $v | quote }}
{{- end }}
{{- end }}
"""

VALUES = """replicas: 2
image: {repository: nginx, tag: "1.27"}
labels: {a: b, c: d}
resources: {limits: {cpu: 100m, memory: 64Mi}}
"""

DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-NUMBER
  labels: {{- include "bench.labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {{- include "bench.labels" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "bench.labels" . | nindent 8 }}
    spec:
      containers:
      - name: main
        image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
        {{- with .Values.resources }}
        resources: {{- toYaml . | nindent 10 }}
        {{- end }}
        ports:
        - {containerPort: 80, name: http}
"""


def write_chart(folder, templates):
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: bench\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text(VALUES)
    (folder / "templates" / "_helpers.tpl").write_text(HELPERS)
    for number in range(templates):
        (folder / "templates" / f"deployment-{number}.yaml").write_text(
            DEPLOYMENT.replace("NUMBER", str(number)))


def run(*arguments):
    done = subprocess.run(
        [str(argument) for argument in arguments], capture_output=True, text=True,
        timeout=600, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments[0]}: {done.stderr}")
    return json.loads(done.stdout)


def measure(templates, rounds):
    """Medians of three turns each, one after the other, so that what else the
    machine does meets both."""
    library, pool = [], []
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder) / "bench"
        write_chart(chart, templates)
        for _ in range(3):
            library.append(run(
                binaries.find("manager/render/worker/librarybench"), chart, rounds))
            pool.append(run(
                binaries.find("e2e/bench/render_pool"),
                binaries.find("manager/render/worker/flotilla-render-worker"),
                chart, rounds))
    best_library = min(library, key=lambda turn: turn["median_us"])
    best_pool = min(pool, key=lambda turn: turn["median_us"])
    if best_library["objects"] != best_pool["objects"]:
        raise RuntimeError(f"other objects: {best_library} and {best_pool}")
    return {
        "templates": templates,
        "library_us": best_library["median_us"],
        "pool_us": best_pool["median_us"],
        "ratio": best_pool["median_us"] / best_library["median_us"],
        "cold_us": best_pool["cold_us"],
        "per_second": best_pool["per_second"],
        "processes": best_pool["processes"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    print(f"{'templates':>9} {'library':>10} {'warm pool':>10} {'ratio':>6} "
          f"{'cold':>10} {'at once':>12}")
    for templates in (1, 4, 40):
        figures = measure(templates, rounds)
        print(f"{templates:>9} {figures['library_us'] / 1000:>7.2f} ms "
              f"{figures['pool_us'] / 1000:>7.2f} ms {figures['ratio']:>6.2f} "
              f"{figures['cold_us'] / 1000:>7.1f} ms "
              f"{figures['per_second']:>6.0f}/s x{figures['processes']}")
    print(f"aim: a ratio of {AIM} at most")


if __name__ == "__main__":
    main()
