"""From an instruction row to tokens: what training reads and what inference prompts with, made in one place."""

from typing import Any

from torchtune.data import Message

# Targets of this value take no part in the loss; torchtune's own mark.
IGNORED = -100


def chat_tokens(tokenizer: Any, message: str, answer: str) -> tuple[list[int], list[bool]]:
    """Tokens of one training row: the user's message as context, then the answer to learn.

    Args:
        tokenizer: A torchtune tokenizer with Llama 3's header tokens.
        message: What :func:`radtune.tasks.rendering.user_message` made.
        answer: What the task's ``encode`` made.

    Returns:
        Token ids, and for each whether it is context that takes no part in the loss.
    """
    messages = [Message(role="user", content=message, masked=True), Message(role="assistant", content=answer)]
    tokens, masked = tokenizer.tokenize_messages(messages)
    return tokens, masked


def prompt_tokens(tokenizer: Any, message: str) -> list[int]:
    """Tokens of a prompt: exactly those that stand before the answer in a training row."""
    messages = [Message(role="user", content=message), Message(role="assistant", content="")]
    tokens, _ = tokenizer.tokenize_messages(messages, add_end_tokens=False)
    return tokens
