"""A world whose lanes die between two steps and start again as the supervisor starts them.

Core, signer and gateway hold channel ends of their own, so that each can be given up alone. A death is an
exception at a chosen step, or a moment on the wire; what was in the dead lane's hands is lost, what stood in
rings, logs and its brake file stays.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.codec import CODECS, KIND_OFFSET
from pipeline.config.load import config_record
from pipeline.kinds import Kind
from pipeline.native.ring import Observer, Ring
from pipeline.run import startpoint, wills, wiring
from pipeline.run.build import build_stage
from pipeline.run.channels import Channels, ring_slots
from pipeline.run.env import Built
from pipeline.run.run_memory import CORE_RINGS
from tests.world.plan import Plan
from tests.world.world import World

CORE, SIGNER, GATEWAY = "core", "signer.main", "gateway.main"
GROUPS = {
    "sequencer": CORE, "book": CORE, "detect": CORE, "trade": CORE, SIGNER: SIGNER, GATEWAY: GATEWAY}
ONE_LANE = dict.fromkeys(GROUPS, CORE)  # a layout whose signer and gateway die with the core
GAPS = ("journal", "sign", "submit unsent", "submit sent", "ack", "ack journal")


class Died(Exception):
    """A lane is dead from here on."""

    def __init__(self, group: str) -> None:
        super().__init__(group)
        self.group = group


class _Kept:
    """The world's memory for one lane: giving it back keeps it."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def buffer(self, what: str) -> memoryview:
        found: memoryview = self._memory.buffer(what)
        return found

    def close(self) -> None:
        """It goes on."""


class _Watched:
    """A channel's writing end that tells of each push, or forbids it."""

    def __init__(self, end: Any, before: Any) -> None:
        self._end = end
        self._before = before

    def push(self, data: bytes) -> bool:
        self._before(data, lambda: self._end.push(data))
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)


class CrashWorld(World):
    """Dies once at each of `gaps`, in this order, each when the world trades. groups: stage -> its lane."""

    def __init__(
        self, plan: Plan, directory: Path, gaps: tuple[str, ...], groups: dict[str, str] = GROUPS,
    ) -> None:
        self._groups = groups
        self._of_group: dict[str, Channels] = {}
        self._chance = random.Random(f"world:crash:{plan.seed}")
        self._epoch = 1
        self._control_no = 2
        self._waiting = list(gaps)
        self.deaths: list[str] = []
        self._is_turning = False
        super().__init__(plan, directory)

    def _stage(self, name: str) -> Built:
        group = self._groups.get(name)
        if group is None:
            return super()._stage(name)
        if group not in self._of_group:
            self._of_group[group] = Channels(
                _Kept(self.memory), self.env.log_dir, self.config.shm.log_segment_slots, 1)
        built = build_stage(name, replace(
            self.env, channels=self._of_group[group], epoch=self._epoch if self.deaths else 0,
            is_restart=bool(self.deaths)))
        self._arm(name, built)
        return built

    # -- where they die --------------------------------------------------------------------------

    def _is_due(self, gap: str) -> bool:
        """Tell whether the next death is this one, and its moment has come."""
        is_next = bool(self._waiting) and self._waiting[0] == gap
        return is_next and (self._is_turning or gap == "ack journal") and self._chance.random() < 0.3

    def _die(self, gap: str, stage: str) -> None:
        self.deaths.append(gap)
        del self._waiting[0]
        raise Died(self._groups[stage])

    def _arm(self, name: str, built: Built) -> None:
        """Put the deaths of this stage between its steps."""
        stage: Any = built.stage
        if name == "trade":
            stage._decisions = _Watched(stage._decisions, self._on_journal)
        elif name == SIGNER:
            stage._sink = _Watched(stage._sink, self._on_sign)
        elif name == GATEWAY:
            machine: Any = built.orders
            submit, flush, answer = machine._submit, machine.flush, machine.on_answer

            def submitting(data: bytes, request: Any) -> None:
                if request.orders and self._is_due("submit unsent"):
                    self._die("submit unsent", GATEWAY)
                submit(data, request)

            def flushing() -> Any:
                if machine._leaving and self._is_due("submit sent"):
                    self._die("submit sent", GATEWAY)
                done = flush()
                if any(one.orders for one in machine.in_flight.values()) and self._is_due("ack"):
                    self._die("ack", GATEWAY)
                return done

            def answered(now_ns: int, tag: int, *words: Any) -> None:
                request = machine.in_flight.get(tag)
                if request is not None and request.orders and self._is_due("ack journal"):
                    self.deaths.append("ack journal")
                    del self._waiting[0]
                    self.crash(self._groups[GATEWAY])
                    return
                answer(now_ns, tag, *words)

            machine._submit, machine.flush, machine.on_answer = submitting, flushing, answered

    def _on_journal(self, data: bytes, push: Any) -> None:
        push()
        if data[KIND_OFFSET] == Kind.PACKAGE and self._is_due("journal"):
            self._die("journal", "trade")

    def _on_sign(self, data: bytes, push: Any) -> None:
        is_before = self._chance.random() < 0.5
        if not is_before:
            push()
        if self._is_due("sign"):
            self._die("sign", SIGNER)
        if is_before:
            push()

    # -- death and start -------------------------------------------------------------------------

    def _turn(self) -> None:
        self._is_turning = True
        try:
            super()._turn()
        except Died as death:
            self.crash(death.group)
        finally:
            self._is_turning = False

    def crash(self, group: str) -> None:
        """Give up what the group's lane held, and start it as the supervisor does."""
        names = [name for name in self.built if self._groups.get(name) == group]
        for name in names:
            self._bury(self.built[name])
        self._of_group.pop(group).close()
        self._epoch += 1
        if group == CORE:
            for ring in CORE_RINGS:
                Ring.format(self.memory.buffer(f"ring.{ring}"), ring_slots(ring, self.config.shm))
            self._ideas.close()
            self._ideas = Observer(self.memory.buffer("ring.ideas"))
            start = startpoint.find(
                self.env.log_dir, self.config.shm.log_segment_slots, 1, self._epoch, from_venue=False)
            self.env = replace(self.env, start=start)
            self._tell(Kind.CONFIG, **config_record(self.config, 1))
        for name in names:
            kind, ident = wiring.split_name(name)
            sent = wills.sent_order_no(self.env.state_dir, ident) if kind == "gateway" else 0
            self._tell(Kind.LANE_UP, epoch=self._epoch, sent_order_no=sent, stage_name=name.encode())
        for name in names:
            self.built[name] = self._stage(name)
        self.machines = [
            machine for built in self.built.values() for machine in (built.sockets, built.rest, built.orders)
            if machine is not None]
        self.network.wakes = True

    def _tell(self, kind: Kind, **fields: Any) -> None:
        self._control_no += 1
        assert self.control.push(
            CODECS[kind].pack(source=1, source_seq=self._control_no, recv_ns=self.now_ns, **fields))

    def _bury(self, built: Built) -> None:
        """Nobody hears the dead: answers to them are lost, and so is what they had not told."""
        machine: Any = built.orders
        if machine is not None:
            for name in ("on_answer", "on_failure", "on_timer", "flush", "_owe"):
                setattr(machine, name, lambda *_: None)
        for close in built.close:
            close()

    def close(self) -> None:
        for channels in self._of_group.values():
            for end in channels._ends:
                end.close()
            channels._ends.clear()
        super().close()
