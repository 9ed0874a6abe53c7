"""From an instruction and a report to the words a model sees: one renderer for training, labelling and inference."""

from radtune.files import sha256_text

PROMPT_FORMATS = ("llama3_chat", "alpaca")


def user_message(instruction: str, report_text: str, prompt_format: str = "llama3_chat") -> str:
    """The user's message of a chat with the model; the tokenizer puts Llama's header tokens around it.

    Args:
        instruction: A task's instruction.
        report_text: The report.
        prompt_format: ``llama3_chat`` frames the report as the paper's prompts do; ``alpaca`` uses the template of
            torchtune's Alpaca dataset, which the paper's repository trained with.

    Returns:
        The message.

    Raises:
        ValueError: Unknown prompt format.
    """
    if prompt_format == "llama3_chat":
        return f"{instruction}\n\nReport to Analyze:\n{report_text}\n\nOutput:"
    if prompt_format == "alpaca":
        # Imported here because torchtune brings torch, and labelling through a server needs neither.
        from torchtune.data import AlpacaToMessages

        template = AlpacaToMessages().template["prompt_input"]
        return template.format(instruction=instruction, input=report_text)
    raise ValueError(f"prompt_format {prompt_format!r} is not one of {', '.join(PROMPT_FORMATS)}")


def prompt_sha256(instruction: str, prompt_format: str = "llama3_chat") -> str:
    """Names a prompt in files and manifests: SHA-256 of its message without a report, so the same for every report."""
    return sha256_text(user_message(instruction, "", prompt_format))
