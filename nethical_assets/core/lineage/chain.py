"""The chain of a model, from raw data to its pointer, every link verified.

What belongs here: following the statements of the stages backwards from a model's release decision and checking, for
each link, its bytes, the signed statement about it, the statements it cites, and the leaf of the audit log that names
the statement, proven against the signed checkpoint. What does not: finding a model by name, or printing.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.audit.reader import LoggedEvent, LogReader
from nethical_assets.core.audit.state import PROMOTIONS
from nethical_assets.core.audit.verify import verify_prefix_root
from nethical_assets.core.cards.card import audit_reference
from nethical_assets.core.ground.digests import digest_bytes, digest_json
from nethical_assets.core.ground.errors import IntegrityError, NethicalError
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.core.ground.validation_errors import describe_malformed
from nethical_assets.core.lineage.inclusion import ProvenLeaves
from nethical_assets.core.lineage.provenance import ProvenanceStore, Statement, statement_name
from nethical_assets.core.models.registry import MANIFEST, ModelPointer, ModelRegistry
from nethical_assets.core.signing.dsse import parse_json
from nethical_assets.core.signing.keys import PublicKeys, key_digest

LinkStatus = Literal["verified", "broken", "unreachable"]
CARD = "card"
POINTER = "pointer"
"""The two links that no stage's statement is about."""


@dataclass(frozen=True)
class ChainShape:
    """Through which stages a model's chain leads; the names are those of the stages' declarations.

    Attributes:
        previous: the stages in their order, each with those before it; its statement has to cite each, or one that
            leads to it.
        raw, datasets, splits, models, releases: the stages that are checked in a way of their own.
        on_card: digest name on a card -> the stage that made what it names.
    """

    previous: Mapping[str, Sequence[str]]
    raw: str
    datasets: str
    splits: str
    models: str
    releases: str
    on_card: Mapping[str, str]


@dataclass(frozen=True)
class Link:
    """One link: ``digest`` names what the stage made, ``statement`` its envelope, ``leaf`` the index in the log.

    ``problems`` has one line for each thing that is wrong; an unreachable link could not be looked at, because a later
    link that leads to it is broken.
    """

    stage: str
    name: str
    digest: str
    status: LinkStatus
    statement: str = ""
    leaf: int | None = None
    signer: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lineage:
    """The chain of ``model``, raw data first."""

    family: str
    model: str
    version: str
    stage: str
    synthetic: bool
    links: tuple[Link, ...]

    @property
    def broken(self) -> Link | None:
        """The first link that does not verify."""
        return next((link for link in self.links if link.status == "broken"), None)


@dataclass(frozen=True)
class ChainEvidence:
    """Where everything is that a chain is verified against.

    Attributes:
        shape: through which stages the chain leads.
        champion_problems: what is wrong with the pointer to a family's champion, by the log: what ``score`` and
            ``audit verify`` go by too.
        trusted: public keys to trust instead of the ones that the log pins.
    """

    objects: ObjectStore
    snapshots: ObjectStore
    registry: ModelRegistry
    provenance: ProvenanceStore
    log: LogReader
    shape: ChainShape
    champion_problems: Callable[[str], Sequence[str]]
    trusted: PublicKeys | None = None

    @functools.cached_property
    def leaves(self) -> ProvenLeaves:
        """The leaves of the log, proven against its newest signed checkpoint.

        Raises:
            AuditError: there is no log, or its checkpoint is not signed by the key that it pins.
        """
        return ProvenLeaves(self.log)


def trace(evidence: ChainEvidence, pointer: ModelPointer, stage: str) -> Lineage:
    """Verify the chain that ends in ``pointer``, which is in ``stage``: current, candidates or archived."""
    tracer = _Tracer(evidence, pointer, stage)
    tracer.follow_release()
    tracer.check_card()
    tracer.check_pointer()
    order = (*evidence.shape.previous, CARD, POINTER)
    links = sorted(tracer.links.values(), key=lambda link: (order.index(link.stage), link.name))
    return Lineage(pointer.family, pointer.model, pointer.version, stage, tracer.synthetic, tuple(links))


@dataclass
class _Tracer:
    evidence: ChainEvidence
    pointer: ModelPointer
    stage: str
    links: dict[tuple[str, str], Link] = field(default_factory=dict)
    synthetic: bool = False

    @property
    def shape(self) -> ChainShape:
        return self.evidence.shape

    def follow_release(self) -> None:
        """Start at the decision and go back through every cited statement."""
        family, decision = self.pointer.family, self.pointer.decision
        problems: list[str] = []
        cited = None
        with _noting(problems):
            cited = self.evidence.provenance.find(self.shape.releases, family, decision)
        self._follow(self.shape.releases, family, decision, cited, problems)

    def check_card(self) -> None:
        """The card: the issued bytes, about these digests, named by the log."""
        pointer, problems = self.pointer, list[str]()
        leaf = None
        path = self.evidence.registry.card_path(pointer, "json")
        with _noting(problems):
            if not pointer.card:
                raise IntegrityError(f"no card was issued for model {pointer.model}")
            data = path.read_bytes() if path.exists() else b""
            if digest_bytes(data) != pointer.card:
                raise IntegrityError(f"{path}: the card is missing, or not the one that was issued; restore it")
            card = parse_json(data, str(path))
            known = {stage: link.digest for (stage, name), link in self.links.items() if name == pointer.family}
            self._compare_card(card, known, problems)
            leaf = self.evidence.leaves.find(EventType.CARD_ISSUED, pointer.card, pointer.model)
            claim = audit_reference(card)
            problems += verify_prefix_root(self.evidence.log.folder, claim.run_id, claim.size, claim.root)
        self._add(CARD, pointer.family, pointer.card, problems, leaf=leaf)

    def check_pointer(self) -> None:
        """The pointer: moved by a decision, or by a person, that the log has."""
        pointer, problems = self.pointer, list[str]()
        leaf = None
        with _noting(problems):
            if self.stage == "candidates":
                leaf = self.evidence.leaves.find(EventType.GATE_DECIDED, pointer.decision, pointer.model)
            else:
                leaf = self.evidence.leaves.find_any(PROMOTIONS, pointer.model, pointer.decision)
        if self.stage == "current":
            with _noting(problems):
                problems += self.evidence.champion_problems(pointer.family)
        self._add(POINTER, self.stage, digest_json(pointer.to_json()), problems, leaf=leaf)

    def _follow(self, stage: str, name: str, output: str, cited: str | None, problems: list[str]) -> None:
        """Check one link, then the ones that its statement cites."""
        with _noting(problems):
            self._check_bytes(stage, output)
        if cited is None and not problems:
            problems.append(
                f"{stage}/{name}: there is no provenance statement about {output}: it was removed, or the stage is "
                "older than statements; materialize it again"
            )
        statement, leaf, signer = self._open(stage, name, output, cited, problems)
        self._add(stage, name, output, problems, statement=cited or "", leaf=leaf, signer=signer)
        if statement is None:
            self._mark_unreachable(stage, name)
        else:
            self._follow_dependencies(statement)

    def _open(
        self, stage: str, name: str, output: str, cited: str | None, problems: list[str]
    ) -> tuple[Statement | None, LoggedEvent | None, str]:
        """The statement that a later link cites, its leaf and its signer; what is wrong with them goes to
        ``problems``."""
        statement: Statement | None = None
        leaf: LoggedEvent | None = None
        signer = ""
        if cited is not None:
            with _noting(problems):
                statement, signer = self.evidence.provenance.open(cited, self.evidence.trusted)
            if statement is not None:
                with _noting(problems):
                    self._check_statement(statement, stage, name, output)
                with _noting(problems):
                    leaf = self.evidence.leaves.find(EventType.PROVENANCE_ISSUED, cited, key_digest(signer), output)
        return statement, leaf, signer

    def _follow_dependencies(self, statement: Statement) -> None:
        for dependency, output in statement.dependencies.items():
            stage, _, name = dependency.partition("/")
            if stage not in self.shape.previous:
                continue
            cited = statement.dependencies.get(statement_name(stage, name))
            found = self.links.get((stage, name))
            if found is None:
                self._follow(stage, name, output, cited, [])
            elif found.status != "unreachable" and found.digest != output:
                self._add_problem(found, f"{stage}/{name}: {statement.stage} was made from another one, {output}")
            elif found.status != "unreachable" and found.statement != cited:
                # The same result may have been attested twice; each statement that is cited has to hold.
                problems: list[str] = []
                self._open(stage, name, output, cited, problems)
                if cited is None:
                    problems.append(f"{stage}/{name}: {statement.stage} cites no statement about it")
                for problem in problems:
                    self._add_problem(self.links[stage, name], problem)

    def _check_bytes(self, stage: str, output: str) -> None:
        evidence = self.evidence
        if stage == self.shape.raw:
            evidence.snapshots.get(output)
        elif stage == self.shape.models:
            manifest, files = evidence.registry.load(output)
            if evidence.trusted is not None and evidence.registry.signatures is not None:
                evidence.registry.signatures.verify(output, {**files, MANIFEST: manifest.to_bytes()}, evidence.trusted)
        else:
            data = evidence.objects.get(output)
            if stage == self.shape.releases:
                self._check_decision(parse_json(data, f"decision {output}"))

    def _check_decision(self, decision: Any) -> None:
        pointer = self.pointer
        named = (decision["family"], decision["model"], decision["evaluation"])
        if named != (pointer.family, pointer.model, pointer.evaluation):
            raise IntegrityError(f"decision {pointer.decision} is about {named[0]} model {named[1]}, not this one")

    def _check_statement(self, statement: Statement, stage: str, name: str, output: str) -> None:
        if (statement.stage, statement.name, statement.outputs.get(f"{stage}/{name}")) != (stage, name, output):
            raise IntegrityError(f"{stage}/{name}: the cited statement is about {statement.stage}/{statement.name}")
        for digest in statement.outputs.values():
            if stage not in (self.shape.raw, self.shape.models):
                self.evidence.objects.get(digest)
        stages = {dependency.partition("/")[0] for dependency in statement.dependencies}
        if stage == self.shape.datasets:
            self.synthetic = statement.parameters.get("synthetic") is True
        required = () if stage == self.shape.datasets and self.synthetic else self.shape.previous[stage]
        # What another cited stage leads to is reached; older releases cite their evaluation and model only.
        reached = {one for cited in stages & set(required) for one in self._leads_to(cited)}
        for missing in sorted(set(required) - stages - reached):
            raise IntegrityError(f"{stage}/{name}: its statement cites no {missing}: a stage was removed")
        if stage == self.shape.models:
            trained_on = self.evidence.registry.load(output)[0].training.get("splits")
            if trained_on != statement.dependencies.get(f"{self.shape.splits}/{name}"):
                raise IntegrityError(f"{stage}/{name}: the manifest names other splits than the statement")

    def _leads_to(self, stage: str) -> Iterator[str]:
        for previous in self.shape.previous[stage]:
            yield previous
            yield from self._leads_to(previous)

    def _compare_card(self, card: Any, known: dict[str, str], problems: list[str]) -> None:
        for name, stage in self.shape.on_card.items():
            if known.get(stage) and card["digests"].get(name) != known[stage]:
                problems.append(f"card: names {name} {card['digests'].get(name)}, the chain has {known[stage]}")

    def _mark_unreachable(self, stage: str, name: str) -> None:
        for previous in self.shape.previous[stage]:
            # Raw data has names of its own, which only the statement that cannot be read has.
            if previous != self.shape.raw and (previous, name) not in self.links:
                self.links[previous, name] = Link(previous, name, "", "unreachable")
                self._mark_unreachable(previous, name)

    def _add(
        self,
        stage: str,
        name: str,
        digest: str,
        problems: list[str],
        *,
        statement: str = "",
        leaf: LoggedEvent | None = None,
        signer: str = "",
    ) -> None:
        self.links[stage, name] = Link(
            stage,
            name,
            digest,
            "broken" if problems else "verified",
            statement,
            None if leaf is None else leaf.index,
            signer,
            tuple(problems),
        )

    def _add_problem(self, link: Link, problem: str) -> None:
        changed = {**vars(link), "status": "broken", "problems": (*link.problems, problem)}
        self.links[link.stage, link.name] = Link(**changed)


@contextlib.contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Turn an expected failure, or a document of another form, into one problem."""
    try:
        yield
    except NethicalError as error:
        problems.append(str(error))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        problems.append(f"malformed document: {describe_malformed(error)}")
