"""Chat templates that copy what is said and never look at it.

Of such a template one rendering a sequence of roles tells all others: contents
stand between texts that the roles alone decide.  Whether a template is one is
read from its syntax tree, and what is not understood counts as looking.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import loopcontrols

_TYPE_TESTS = frozenset(
    ("defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "boolean")
)
_LOOP_FACTS = frozenset(("first", "last", "index", "index0", "revindex", "revindex0", "length"))
_FUNCTIONS = frozenset(("raise_exception", "range", "strftime_now", "namespace"))


class Copying(NamedTuple):
    """What a template asks of contents, so that it copies them."""

    only_stripped: bool
    """They must not be empty, nor begin or end with white space: it trims them or asks whether there are any."""


class _Looks(Exception):  # noqa: N818 - no error
    """The template does more with a content than copy it, or something that is not understood."""


class _Kind(Enum):
    FIXED = "decided by the roles"
    TEXT = "contents and fixed texts in a row, perhaps trimmed"
    MESSAGE = "one message"
    MESSAGES = "a list of messages"


def read_copying(template: str) -> Copying | None:
    """Read from a template that the texts around contents depend on the roles of the messages alone.

    Args:
        template: Jinja source; its `messages` have a `role` and a string `content` and nothing else.

    Returns:
        What contents it holds for; None where it is not shown.
    """
    try:
        return _Reader().read(parse_template(template))
    except (TemplateSyntaxError, RecursionError, _Looks):
        return None


def parse_template(template: str) -> nodes.Template:
    """A chat template's syntax tree, which is only looked at.

    Raises:
        TemplateSyntaxError: it has an error, or a block of `transformers`' own.
    """
    return Environment(extensions=[loopcontrols], autoescape=False).parse(template)  # noqa: S701 - never rendered


class _Reader:
    """Kinds of names are joined over all assignments to them, wherever they stand, until none changes."""

    def __init__(self) -> None:
        self._names: dict[str, _Kind] = {"messages": _Kind.MESSAGES}
        self._only_stripped = False
        self._changed = True

    def read(self, tree: nodes.Template) -> Copying:
        while self._changed:
            self._changed = False
            self._statements(tree.body)
        return Copying(self._only_stripped)

    def _statements(self, body: Iterable[nodes.Node]) -> None:
        for node in body:
            match node:
                case nodes.Output():
                    for part in node.nodes:
                        self._require(part, _Kind.FIXED, _Kind.TEXT)
                case nodes.If():
                    self._truth(node.test)
                    self._statements([*node.body, *node.elif_, *node.else_])
                case nodes.For(recursive=False):
                    kind = self._require(node.iter, _Kind.FIXED, _Kind.MESSAGES)
                    self._assign(node.target, _Kind.MESSAGE if kind is _Kind.MESSAGES else kind)
                    if node.test is not None:
                        self._truth(node.test)
                    self._statements([*node.body, *node.else_])
                case nodes.Assign():
                    self._assign(node.target, self._kind(node.node))
                case nodes.Continue() | nodes.Break():
                    pass
                case _:
                    raise _Looks

    def _assign(self, target: nodes.Node, kind: _Kind) -> None:
        if not isinstance(target, nodes.Name):  # a namespace's attribute, or several names at once
            if kind is not _Kind.FIXED:
                raise _Looks
            for part in target.find_all(nodes.Name):
                self._assign(part, kind)
            return
        joined = _join(self._names.get(target.name, kind), kind)
        self._changed |= self._names.get(target.name) is not joined
        self._names[target.name] = joined

    def _require(self, node: nodes.Node, *kinds: _Kind) -> _Kind:
        kind = self._kind(node)
        if kind not in kinds:
            raise _Looks
        return kind

    def _truth(self, node: nodes.Node) -> None:
        """A condition: of a text only whether there is any, which is so of every stripped content."""
        match node:
            case nodes.And() | nodes.Or():
                self._truth(node.left)
                self._truth(node.right)
            case nodes.Not():
                self._truth(node.node)
            case _:
                self._only_stripped |= self._kind(node) is _Kind.TEXT

    def _kind(self, node: nodes.Node) -> _Kind:
        match node:
            case nodes.TemplateData() | nodes.Const():
                return _Kind.FIXED
            case nodes.Name():
                if node.name in ("loop", "self", "caller"):
                    raise _Looks
                return self._names.get(node.name, _Kind.FIXED)
            case nodes.Getattr(node=nodes.Name(name="loop")) if node.attr in _LOOP_FACTS:
                return _Kind.FIXED
            case nodes.Getattr():
                return self._part(node.node, nodes.Const(node.attr))
            case nodes.Getitem():
                return self._part(node.node, node.arg)
            case nodes.Concat():
                return self._joined(node.nodes)
            case nodes.Add():
                return self._joined([node.left, node.right])
            case nodes.And() | nodes.Or():
                self._truth(node)
                return self._joined([node.left, node.right])
            case nodes.Not():
                self._truth(node)
                return _Kind.FIXED
            case nodes.CondExpr():
                self._truth(node.test)
                kind = self._kind(node.expr1)
                return kind if node.expr2 is None else _join(kind, self._kind(node.expr2))
            case nodes.Filter():
                return self._filtered(node)
            case nodes.Call():
                return self._called(node)
            case nodes.Test():
                if self._kind(node.node) is not _Kind.FIXED and node.name not in _TYPE_TESTS:
                    raise _Looks
                return self._fixed(node.args)
            case nodes.Compare():
                return self._compared(node)
            case nodes.Expr():
                return self._fixed(node.iter_child_nodes())
            case _:
                raise _Looks

    def _fixed(self, parts: Iterable[nodes.Node]) -> _Kind:
        for part in parts:
            if isinstance(part, (nodes.Keyword, nodes.Pair, nodes.Operand)):
                self._fixed(part.iter_child_nodes())
            else:
                self._require(part, _Kind.FIXED)
        return _Kind.FIXED

    def _joined(self, parts: Sequence[nodes.Node]) -> _Kind:
        kinds = {self._require(part, _Kind.FIXED, _Kind.TEXT) for part in parts}
        return _Kind.TEXT if _Kind.TEXT in kinds else _Kind.FIXED

    def _part(self, whole: nodes.Node, key: nodes.Node) -> _Kind:
        kind = self._kind(whole)
        self._fixed(key.iter_child_nodes() if isinstance(key, nodes.Slice) else [key])
        if kind is _Kind.MESSAGES:
            if isinstance(key, nodes.Slice):
                return kind
            if not (isinstance(key, nodes.Const) and isinstance(key.value, str)):
                return _Kind.MESSAGE
        if kind is _Kind.MESSAGE and isinstance(key, nodes.Const) and not hasattr(dict, str(key.value)):
            return _Kind.TEXT if key.value == "content" else _Kind.FIXED
        if kind is not _Kind.FIXED:
            raise _Looks
        return kind

    def _filtered(self, node: nodes.Filter) -> _Kind:
        if node.node is None:
            raise _Looks
        kind = self._kind(node.node)
        self._fixed([*node.args, *node.kwargs])
        if kind is _Kind.TEXT and node.name == "trim" and not node.args and not node.kwargs:
            self._only_stripped = True
            return kind
        if kind is _Kind.FIXED or (kind is _Kind.MESSAGES and node.name in ("length", "count")):
            return _Kind.FIXED
        raise _Looks

    def _called(self, node: nodes.Call) -> _Kind:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise _Looks
        self._fixed([*node.args, *node.kwargs])
        match node.node:
            case nodes.Name() if node.node.name in _FUNCTIONS:
                return _Kind.FIXED
            case nodes.Getattr():
                kind = self._kind(node.node.node)
                if kind is _Kind.TEXT and node.node.attr == "strip" and not node.args:
                    self._only_stripped = True
                    return kind
                if kind is _Kind.FIXED:
                    return kind
        raise _Looks

    def _compared(self, node: nodes.Compare) -> _Kind:
        (operand, *more) = node.ops
        right = operand.expr
        kind = self._kind(node.expr)
        if kind is _Kind.TEXT and not more and operand.op in ("eq", "ne") and isinstance(right, nodes.Const):
            self._only_stripped |= right.value == ""
            if right.value == "" or not isinstance(right.value, str):  # no text is `none`, `false` or a number
                return _Kind.FIXED
        has_key = not more and operand.op in ("in", "notin") and isinstance(node.expr, nodes.Const)
        if has_key and self._kind(right) is _Kind.MESSAGE:
            return _Kind.FIXED
        return self._fixed([node.expr, *node.ops])


def _join(one: _Kind, other: _Kind) -> _Kind:
    if one is other:
        return one
    if {one, other} == {_Kind.FIXED, _Kind.TEXT}:
        return _Kind.TEXT
    raise _Looks
