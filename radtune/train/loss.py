"""The loss of a batch: a decoder's hidden states, its output layer where something is predicted, cross-entropy."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

# Predictions whose logits are held at once: with Llama 3's vocabulary of 128,256, half a gigabyte in float32.
CHUNK = 1024


class SummedLoss(nn.Module):
    """A decoder that gives the summed loss of a batch instead of logits.

    The output layer is computed only at places that have a target: one in ten to twenty of a report's tokens.

    Attributes:
        decoder: A torchtune ``TransformerDecoder``.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor | None,
        mask: object,
        places: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Sums the cross-entropy over targets.

        Args:
            tokens: Token ids, shape (sequences, length).
            positions: Their positions, the same shape, or None.
            mask: What the decoder's layers take; None is causal.
            places: Where the targets stand in the flattened tokens, shape (trained,).
            targets: Token ids, shape (trained,).

        Returns:
            The sum, a float32 scalar.
        """
        hidden = self.decoder.tok_embeddings(tokens)
        for layer in self.decoder.layers:
            hidden = layer(hidden, mask=mask, input_pos=positions)
        hidden = self.decoder.norm(hidden.flatten(0, 1)[places])
        if len(places) <= CHUNK:
            return self._sum(hidden, targets)
        # Logits of many places are made again in the backward pass rather than all held until then.
        parts = zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
        return torch.stack([checkpoint(self._sum, *part, use_reentrant=False) for part in parts]).sum()

    def _sum(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(self.decoder.output(hidden).float(), targets, reduction="sum")
