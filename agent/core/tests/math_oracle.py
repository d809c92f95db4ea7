"""Makes math_oracle.tsv: random expressions and what py-expression-eval makes of them.

    pip install py-expression-eval==0.3.14 && python3 math_oracle.py >math_oracle.tsv

Left out is what it cannot read itself (a sign behind `*`, a function behind `^`), and what has a complex or infinite
number on the way, which Kuksa goes on with and Glovebox does not.
"""

import math
import random

from py_expression_eval import Parser

UNARY = ["abs", "acos", "acosd", "asin", "asind", "atan", "atand", "ceil", "cos", "cosd", "exp", "floor", "round"]
UNARY += ["sin", "sind", "sqrt", "tan", "tand", "log"]
BINARY = ["min", "max", "pow", "atan2", "pyt", "log"]
LOOSE = ["+", "-", "==", "!=", "<", "<=", ">", ">=", " and ", " or "]
OPERATORS = LOOSE + ["*", "/", "%", "^", "**", "*", "/", "+", "-"]


class Skip(Exception):
    pass


def strict(operation):
    def call(*arguments):
        result = operation(*arguments)
        if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
            raise Skip
        return result

    return call


def atom(depth):
    kind = random.random()
    if depth <= 0 or kind < 0.35:
        numbers = [str(random.randint(0, 9)), f"{random.uniform(0, 100):.2f}", ".5", "3.", "2e-3", "1E2", "PI", "E"]
        return random.choice(["x", "x", "y", *numbers])
    if kind < 0.55:
        return f"({formula(depth - 1)})"
    if kind < 0.75:
        return random.choice(UNARY) + random.choice(["", " "]) + f"({formula(depth - 1)})"
    if kind < 0.9:
        name = random.choice(BINARY)
        count = random.randint(2, 4) if name in ("min", "max") else 2
        return f"{name}({', '.join(formula(depth - 1) for _ in range(count))})"
    if kind < 0.95:
        return f"if({', '.join(formula(depth - 1) for _ in range(3))})"
    return f"not({formula(depth - 1)})"


def formula(depth):
    text = random.choice(["", "", "", "", "-", "+", "not "]) + atom(depth)
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        operator, space = random.choice(OPERATORS), random.choice(["", " "])
        sign = random.choice(["", "", "", "", "", "-"]) if operator in LOOSE else ""
        text += space + operator + space + sign + atom(depth - 1)
    return text


def main():
    random.seed(7)
    parser = Parser()
    for table in (parser.ops1, parser.ops2, parser.functions):
        for name in table:
            if name != ",":
                table[name] = strict(table[name])
    print("expression\tx\ty\tresult by py-expression-eval 0.3.14, - for none")
    seen, without = set(), 0
    while len(seen) < 400:
        text = formula(random.choice([1, 2, 2, 3]))
        x = random.choice([random.uniform(-50, 50), float(random.randint(-9, 9)), 0.0])
        y = random.choice([random.uniform(-5, 5), 0.0, 1.0])
        if len(text) > 90 or text in seen:
            continue
        try:
            result = repr(float(parser.parse(text).evaluate({"x": x, "y": y})))
        except (Skip, IndexError):
            continue
        except Exception as error:
            if without == 60 or "parse error" in str(error) or "function" in str(error) or "method" in str(error):
                continue
            result, without = "-", without + 1
        seen.add(text)
        print(text, repr(x), repr(y), result, sep="\t")


if __name__ == "__main__":
    main()
