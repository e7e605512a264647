"""Commits whose images have what usually gets in the way of the same bits."""

from __future__ import annotations

PLAIN = "plain"
PYTHON = "python"
STAGES = "stages"


def samples(busybox: str, python: str) -> dict[str, dict[str, str]]:
    """Files of each sample, by its name."""
    return {
        PLAIN: {
            "Dockerfile": (
                f"FROM {busybox}\n"
                "RUN mkdir -p /d/e && echo one > /d/e/one && ln /d/e/one /d/two && ln -s /d /link\n"
                "RUN mknod /null c 1 3 && mkfifo /pipe && rm /etc/group && chown 7:7 /d/two\n"
                "COPY app.txt /app/\n"
                'CMD ["cat", "/app/app.txt"]\n'
            ),
            "app.txt": "an application\n" * 100,
        },
        PYTHON: {
            "Dockerfile": (
                f"FROM {python}\n"
                "ENV PYTHONDONTWRITEBYTECODE=1\n"
                "WORKDIR /app\n"
                "COPY main.py ./\n"
                'RUN python3 -c "import main; main.write()"\n'
                'CMD ["python3", "main.py"]\n'
            ),
            "main.py": (
                "def write():\n    for n in range(200):\n"
                '        open(f"/app/data-{n}", "w").write(str(n) * n)\n'
            ),
        },
        STAGES: {
            "Dockerfile": (
                f"FROM {busybox} AS made\n"
                "COPY app.txt /in/\n"
                "RUN mkdir /out && for n in 3 1 2; do sort /in/app.txt > /out/$n; done\n"
                f"FROM {busybox}\n"
                "COPY --from=made /out /srv\n"
                "RUN adduser -D -H app || true\n"
                "USER app\n"
            ),
            "app.txt": "b\na\nc\n",
        },
    }
