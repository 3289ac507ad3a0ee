"""`[accounts.<name>]`: one wallet at one venue. Secrets are named by file, never given."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from pipeline.config.section import Address, SecretFile, Section, setting


class Account(Section):
    """One wallet; `account.<name>`, `signer.<name>` and `gateway.<name>` are its stages."""

    venue: Literal["polymarket"] = setting("", "Venue that the wallet trades at.", "polymarket")
    signature_type: Literal[0, 1, 2, 3] = setting(
        "", "Wallet kind: 0 EOA, 1 proxy, 2 Safe, 3 deposit wallet (POLY_1271).", 0
    )
    address: Address = setting("address", "Address of the key that signs.")
    maker: Address = setting("address", "Wallet that holds the money; for kind 0 the same as `address`.")
    key_file: SecretFile = setting("path", "File with the wallet key; read by the signer alone.")
    api_file: SecretFile = setting("path", "File with the API key; read by gateway and account stage.")
    orders_per_s: int = setting("orders/s", "Sustained order rate of the venue's tier.", 40, ge=1, le=10_000)
    orders_burst: int = setting("orders", "Most orders that the venue takes at once.", 60, ge=1, le=100_000)
    cancels_per_s: int = setting("cancels/s", "Sustained cancel rate of the tier.", 80, ge=1, le=10_000)
    cancels_burst: int = setting(
        "cancels", "Most cancels that the venue takes at once.", 120, ge=1, le=100_000
    )

    @model_validator(mode="after")
    def rates_fit(self) -> Self:
        """A burst below one second's rate would make the rate unreachable."""
        for kind in ("orders", "cancels"):
            rate, burst = getattr(self, f"{kind}_per_s"), getattr(self, f"{kind}_burst")
            if burst < rate:
                raise ValueError(f"{kind}_burst must be at least {kind}_per_s ({rate}), was {burst}")
        return self
