r"""Asks a model about every report of a file, or about one.

    python inference.py task=multiple_choice reports=reports.jsonl output=predictions.jsonl \
        checkpoint_dir=data/mini adapter_dir=runs/mini/training/mix_400_200/adapter
    python inference.py task=multiple_choice reports=reports.jsonl output=[a.jsonl,b.jsonl] \
        checkpoint_dir=data/mini adapter_dir=[runs/a/adapter,runs/b/adapter]
    python inference.py task=multiple_choice checkpoint_dir=data/mini text="Heart is enlarged."
    python inference.py engine=openai base_url=http://localhost:8000/v1 model=NAME ...

Rows come out in the order of the reports; answers that cannot be read are kept with their status. Stopped or killed,
a run goes on where it was when the same command is given again: every answer is on disk as soon as it is there
(OUTPUT.ledger), and is not asked for twice. Several adapters of one base are asked together, each with rows and ledger
of its own: a run goes on with all of them or with each by itself. Without reports, one is read from text= or from
standard input, and its labels are printed. gpt_data_generate.py is the same command with other defaults. Exit code 1 if
some reports have no answer.
"""

from radtune.ask.command import AskConfig, ask
from radtune.command import run_command


def main(config: AskConfig) -> None:
    """Asks, writes, and prints what came out."""
    ask(config)


if __name__ == "__main__":
    run_command(main, AskConfig)
