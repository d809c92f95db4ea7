//! Text to steps, by winnow's operator precedence parser; the only user of `winnow`.

use super::meaning::{FUNCTIONS, is, modulo, truth, xor};
use super::{MathError, Operation, Step};
use winnow::ascii::{digit0, digit1, multispace0};
use winnow::combinator::{Infix, Prefix, alt, cut_err, delimited, expression, not, opt, preceded, separated};
use winnow::error::{ErrMode, ParserError};
use winnow::stream::{Stateful, Stream as _};
use winnow::token::{one_of, take_while};
use winnow::{ModalResult, Parser};

/// Names that are listed for one that is not known.
const NAMES_SHOWN: usize = 8;

/// The steps of an expression.
pub(super) fn read(text: &str, variables: &[&str]) -> Result<Vec<Step>, MathError> {
    let mut input = Input { input: text, state: variables };
    whole(&mut input).map_err(|error| {
        let fault = error.into_inner().unwrap_or_else(|_| Fault::from_input(&input));
        let before = text.get(..text.len() - fault.rest).unwrap_or(text);
        MathError { column: before.chars().count() + 1, what: fault.what }
    })
}

/// What is still to be read, and the variables.
type Input<'i> = Stateful<&'i str, &'i [&'i str]>;
type Steps = Vec<Step>;
type Parsed<T> = ModalResult<T, Fault>;

/// Where it went wrong: so many bytes before the end.
#[derive(Debug)]
struct Fault {
    rest: usize,
    what: String,
}

impl ParserError<Input<'_>> for Fault {
    type Inner = Self;

    fn from_input(input: &Input<'_>) -> Self {
        Self {
            rest: input.eof_offset(),
            what: "a number, a variable, a function or `(` must stand here".to_owned(),
        }
    }

    /// The one that came further.
    fn or(self, other: Self) -> Self {
        if self.rest < other.rest { self } else { other }
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

fn fault<T>(input: &Input<'_>, what: impl Into<String>) -> Parsed<T> {
    Err(ErrMode::Cut(Fault { rest: input.eof_offset(), what: what.into() }))
}

fn whole(input: &mut Input<'_>) -> Parsed<Steps> {
    let steps = formula(input)?;
    multispace0.parse_next(input)?;
    match input.input.chars().next() {
        None => Ok(steps),
        Some(')') => fault(input, "this `)` closes nothing"),
        Some(_) => fault(input, "an operator must stand here"),
    }
}

fn formula(input: &mut Input<'_>) -> Parsed<Steps> {
    expression(operand).prefix(prefix).infix(infix).parse_next(input)
}

/// The binding powers of py-expression-eval, times ten.
fn infix<'i>(input: &mut Input<'i>) -> Parsed<Infix<Input<'i>, Steps, ErrMode<Fault>>> {
    use Infix::Left;
    multispace0.parse_next(input)?;
    let arithmetic = (
        alt(("**", "^")).value(Left(80, |_, a, b| two(a, b, |v| v[0].powf(v[1])))),
        "%".value(Left(60, |_, a, b| two(a, b, |v| modulo(v[0], v[1])))),
        "/".value(Left(60, |_, a, b| two(a, b, |v| v[0] / v[1]))),
        "*".value(Left(50, |_, a, b| two(a, b, |v| v[0] * v[1]))),
        "+".value(Left(40, |_, a, b| two(a, b, |v| v[0] + v[1]))),
        "-".value(Left(40, |_, a, b| two(a, b, |v| v[0] - v[1]))),
    );
    let comparison = (
        "==".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] == v[1])))),
        "!=".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] != v[1])))),
        "<=".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] <= v[1])))),
        ">=".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] >= v[1])))),
        "<".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] < v[1])))),
        ">".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] > v[1])))),
    );
    let logic = (
        word("and").value(Left(10, |_, a, b| two(a, b, |v| if is(v[0]) { v[1] } else { v[0] }))),
        word("or").value(Left(0, |_, a, b| two(a, b, |v| if is(v[0]) { v[0] } else { v[1] }))),
        word("xor").value(Left(0, |_, a, b| two(a, b, |v| xor(v[0], v[1])))),
    );
    let operator = alt((alt(arithmetic), alt(comparison), alt(logic))).parse_next(input)?;
    if let Left(power, _) = &operator {
        check_prefix(input, *power)?;
    }
    Ok(operator)
}

fn prefix<'i>(input: &mut Input<'i>) -> Parsed<Prefix<Input<'i>, Steps, ErrMode<Fault>>> {
    multispace0.parse_next(input)?;
    let operator = alt((
        "-".value(Prefix(51, |_, a| apply(&[a], |v| -v[0]))),
        "+".value(Prefix(51, |_, a| Ok(a))),
        word("not").value(Prefix(21, |_, a| apply(&[a], |v| truth(!is(v[0]))))),
    ))
    .parse_next(input)?;
    check_prefix(input, operator.0)?;
    Ok(operator)
}

/// Behind an operator that binds as tightly, Kuksa takes no sign and no `not`: its evaluation fails each time.
fn check_prefix(input: &Input<'_>, power: i64) -> Parsed<()> {
    let rest = input.input.trim_start();
    let is_not = rest.strip_prefix("not").is_some_and(|rest| !rest.starts_with(|c| is_name(c) || c == '('));
    if (power >= 50 && rest.starts_with(['-', '+'])) || (power >= 20 && is_not) {
        return fault(
            input,
            "a sign or `not` behind this operator must stand in parentheses, as in `2*(-x)`",
        );
    }
    Ok(())
}

fn operand(input: &mut Input<'_>) -> Parsed<Steps> {
    multispace0.parse_next(input)?;
    alt((number, parentheses, name)).parse_next(input)
}

fn number(input: &mut Input<'_>) -> Parsed<Steps> {
    let start = input.checkpoint();
    let exponent = (one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1);
    let text: &str = (digit0, opt(('.', digit0)), opt(exponent)).take().parse_next(input)?;
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        input.reset(&start);
        return Err(ErrMode::from_input(input));
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(vec![Step::Number(number)]),
        _ => {
            input.reset(&start);
            fault(input, "this is not a number, or one too large for a double")
        }
    }
}

fn parentheses(input: &mut Input<'_>) -> Parsed<Steps> {
    delimited('(', cut_err(formula), closing).parse_next(input)
}

fn closing(input: &mut Input<'_>) -> Parsed<()> {
    multispace0.parse_next(input)?;
    match opt(')').parse_next(input)? {
        Some(_) => Ok(()),
        None if input.input.is_empty() => fault(input, "a `)` is missing"),
        None => fault(input, "an operator or `)` must stand here"),
    }
}

/// A constant, a variable or a call.
fn name(input: &mut Input<'_>) -> Parsed<Steps> {
    let start = input.checkpoint();
    let first = one_of(|c: char| c.is_ascii_alphabetic() || c == '_');
    let name: &str = (first, take_while(0.., is_name)).take().parse_next(input)?;
    // `not (x) == 1` denies the comparison, `not(x) == 1` only `x`.
    let call = input.input.starts_with('(') || (name != "not" && input.input.trim_start().starts_with('('));
    if matches!(name, "and" | "or" | "xor") || (name == "not" && !call) {
        input.reset(&start);
        return Err(ErrMode::from_input(input));
    }
    if call {
        return function(input, name).map_err(|error| match error {
            // Names and numbers of arguments are faults of the name.
            ErrMode::Backtrack(fault) => {
                input.reset(&start);
                ErrMode::Cut(Fault { rest: input.eof_offset(), ..fault })
            }
            other => other,
        });
    }
    let step = match name {
        "PI" => Some(Step::Number(std::f64::consts::PI)),
        "E" => Some(Step::Number(std::f64::consts::E)),
        _ => input.state.iter().position(|variable| *variable == name).map(Step::Variable),
    };
    if let Some(step) = step {
        return Ok(vec![step]);
    }
    input.reset(&start);
    let known: Vec<&str> = input.state.iter().copied().take(NAMES_SHOWN).collect();
    let more = if input.state.len() > NAMES_SHOWN { " and others" } else { "" };
    fault(input, format!("the variable `{name}` is not known; there is {}{more}", known.join(", ")))
}

fn function(input: &mut Input<'_>, name: &str) -> Parsed<Steps> {
    let wrong = |what: String| Err(ErrMode::Backtrack(Fault { rest: 0, what }));
    let Some((_, least, most, operation)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<&str> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
        return wrong(format!("the function `{name}` is not known; there is {}", names.join(", ")));
    };
    let comma = (multispace0, ',');
    let arguments = separated(1.., formula, comma);
    let arguments: Vec<Steps> = preceded((multispace0, '('), cut_err((arguments, closing)))
        .map(|(found, ())| found)
        .parse_next(input)?;
    let count = arguments.len();
    if !(*least..=*most).contains(&count) {
        let want = match (*least, *most) {
            (least, most) if least == most => least.to_string(),
            (least, usize::MAX) => format!("{least} or more"),
            (least, most) => format!("{least} to {most}"),
        };
        return wrong(format!("`{name}` has {count} arguments here and takes {want}"));
    }
    apply(&arguments, *operation)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.')
}

/// A whole word.
fn word<'i>(text: &'static str) -> impl Parser<Input<'i>, (), ErrMode<Fault>> {
    (text, not(one_of(is_name))).void()
}

#[expect(clippy::unnecessary_wraps, reason = "winnow's operators may fail")]
fn apply(arguments: &[Steps], operation: Operation) -> Parsed<Steps> {
    let count = arguments.len();
    let mut steps = arguments.concat();
    steps.push(Step::Apply(operation, count));
    Ok(steps)
}

fn two(left: Steps, right: Steps, operation: Operation) -> Parsed<Steps> {
    apply(&[left, right], operation)
}
