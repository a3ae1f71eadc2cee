"""What can be wrong with an expression?

ExpressionError (Invalid, 400)
├─ SyntaxFault       it does not parse: line, column, the place, and a hint
├─ UnknownField      it names a field that the schema does not have
├─ UnknownFunction   it calls a function that does not exist, or with other arguments
├─ TypeFault         it compares or combines what does not go together
└─ UnsupportedHere   it is right, but this evaluator cannot do it
"""

from __future__ import annotations

from amity.kernel.errors import Invalid


class ExpressionError(Invalid):
    """The expression cannot be used."""


class SyntaxFault(ExpressionError):
    """The expression does not parse."""


class UnknownField(ExpressionError):
    """The expression names a field that the schema does not have."""


class UnknownFunction(ExpressionError):
    """The expression calls a function that does not exist."""


class TypeFault(ExpressionError):
    """The expression combines values that do not go together."""


class UnsupportedHere(ExpressionError):
    """This evaluator cannot do it."""
