"""`[accounts.<name>]`: one wallet at one venue. Secrets are named by file, never given."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from pipeline.config.section import Address, ProxyUrl, SecretFile, Section, setting


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
    proxy_url: ProxyUrl | None = setting(
        "URL", "Proxy of the order path: http://host:port (CONNECT) or socks5://host:port.", None)
    proxy_file: SecretFile | None = setting("path", "File with user:password of the proxy.", None)
    tier: Literal["standard", "copper", "bronze", "silver", "gold", "platinum", "diamond", "elite"] = setting(
        "", "The venue's rate tier, by 30-day maker volume; the four below replace its figures.", "standard"
    )
    orders_per_s: int | None = setting("orders/s", "Sustained order rate.", None, ge=1, le=10_000)
    orders_burst: int | None = setting("orders", "Most orders at once.", None, ge=1, le=100_000)
    cancels_per_s: int | None = setting("cancels/s", "Sustained cancel rate.", None, ge=1, le=10_000)
    cancels_burst: int | None = setting(
        "cancels", "Most cancels at once; new orders stop when open orders and one more need them all.", None,
        ge=1, le=100_000
    )

    @property
    def rates(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Return what replaces the tier's figures, in the venue's order."""
        return self.orders_per_s, self.orders_burst, self.cancels_per_s, self.cancels_burst

    @model_validator(mode="after")
    def proxy_fits(self) -> Self:
        """A login without a proxy would go nowhere."""
        if self.proxy_file is not None and self.proxy_url is None:
            raise ValueError("proxy_file needs proxy_url; name the proxy or leave both away")
        return self

    @model_validator(mode="after")
    def rates_fit(self) -> Self:
        """A burst below one second's rate would make the rate unreachable."""
        for kind in ("orders", "cancels"):
            rate, burst = getattr(self, f"{kind}_per_s"), getattr(self, f"{kind}_burst")
            if (rate is None) != (burst is None):
                raise ValueError(
                    f"{kind}_per_s and {kind}_burst replace the tier's figures together; name both")
            if rate is not None and burst < rate:
                raise ValueError(f"{kind}_burst must be at least {kind}_per_s ({rate}), was {burst}")
        return self
