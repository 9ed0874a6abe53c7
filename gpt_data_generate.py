r"""Labels reports with a chat model: an OpenAI-compatible server, OpenAI, Azure OpenAI, or a model here.

    python gpt_data_generate.py reports=reports.jsonl output=annotations.jsonl base_url=http://127.0.0.1:8000/v1 \
        model=meta-llama/Llama-3.3-70B-Instruct
    python gpt_data_generate.py reports=reports.jsonl output=answers.jsonl task=multiple_choice ...
    python gpt_data_generate.py reports=reports.jsonl output=annotations.jsonl dry_run=true ...

Every answer is on disk as soon as it has come (OUTPUT.ledger), so a run that was stopped or killed goes on where it
was, and no question is asked twice. What has failed or has changed is asked when the command is started again. Rows
with problems stand in OUTPUT.quarantine.jsonl, too. Keys come from the environment: OPENAI_API_KEY,
AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN; base_url from OPENAI_BASE_URL if not given, and model the paper's
gpt-4o-2024-05-13. A server on this machine gets a key only where OPENAI_BASE_URL or allow_endpoint= names it.
inference.py is the same command with other defaults. Exit code 1 if some reports have no answer.
"""

from radtune.ask.command import AskConfig, ask, keys_with
from radtune.command import run_command
from radtune.tasks import DEFAULT_TASK

# The paper's teacher, and how it was asked (section 2.2).
MODEL = "gpt-4o-2024-05-13"
GenerateConfig = keys_with(
    "GenerateConfig",
    task=DEFAULT_TASK,
    engine="openai",
    prompt="labelling",
    temperature=0.0,
    max_new_tokens=1024,
    concurrency=8,
)


def main(config: AskConfig) -> None:
    """Asks, records, and prints what came out."""
    if config.engine == "openai":
        config.model = config.model or MODEL
    ask(config, quarantine=True)


if __name__ == "__main__":
    run_command(main, GenerateConfig)
