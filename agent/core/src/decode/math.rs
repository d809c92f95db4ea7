//! Expressions of mapping files: read once, evaluated without allocation.
//!
//! ```text
//! or xor │ and │ not │ == != < <= > >= │ + - │ * and signs │ / % │ ^ **     loosest first, each from left to right
//! sin(x) min(x, 1, 2) if(x > 3, 1, 0)     1  .5  2e-3     PI  E     x
//! ```
//!
//! The meaning is that of py-expression-eval 0.3.14, which Kuksa uses, in IEEE doubles: `/` binds tighter than `*`,
//! `-x^2` is `-(x^2)`, `2^3^2` is 64, `%` has the sign of its right side, `round` goes to even, true is 1 and false is
//! 0, and `and` and `or` give one of their sides. There an operation that cannot be done ends the evaluation, whatever
//! becomes of its result; here one with a result that is not finite does.

mod meaning;
mod read;

use crate::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_VALUES_MAX};
use std::sync::Arc;
/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct MathError {
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong and what to write.
    pub what: String,
}

/// An expression over numbered variables.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    /// In the order of their work: values first, then what takes them.
    steps: Arc<[Step]>,
}

/// Two are the same if they are written the same.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

type Operation = fn(&[f64]) -> f64;

#[derive(Clone, Copy)]
enum Step {
    Number(f64),
    Variable(usize),
    /// Takes so many of the last values, and leaves one.
    Apply(Operation, usize),
}

impl Expression {
    /// Reads an expression; a variable's number is its place in `variables`.
    ///
    /// # Errors
    /// [`MathError`]: what cannot be read, an unknown name, a function with the wrong number of arguments, or more
    /// than the bounds.
    pub fn parse(text: &str, variables: &[&str]) -> Result<Self, MathError> {
        check_bounds(text)?;
        let steps = read::read(text, variables)?;
        if values(&steps) > EXPRESSION_VALUES_MAX {
            let what = format!(
                "more than {EXPRESSION_VALUES_MAX} values wait for their operation; write it simpler"
            );
            return Err(MathError { column: 1, what });
        }
        Ok(Self { text: text.into(), steps: steps.into() })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The numbers of the variables in it, as often as they stand there.
    pub fn variables(&self) -> impl Iterator<Item = usize> {
        self.steps.iter().filter_map(|step| match step {
            Step::Variable(number) => Some(*number),
            Step::Number(_) | Step::Apply(..) => None,
        })
    }

    /// The result for these variables, true as 1 and false as 0; `None` if some operation has none that is finite.
    #[must_use]
    pub fn evaluate(&self, variables: &[f64]) -> Option<f64> {
        let mut stack = [0.0; EXPRESSION_VALUES_MAX];
        let mut top = 0;
        for step in self.steps.iter() {
            let value = match *step {
                Step::Number(number) => number,
                Step::Variable(number) => *variables.get(number)?,
                Step::Apply(operation, count) => {
                    let first = usize::checked_sub(top, count)?;
                    let value = operation(stack.get(first..top)?);
                    top = first;
                    value
                }
            };
            if !value.is_finite() {
                return None;
            }
            *stack.get_mut(top)? = value;
            top += 1;
        }
        stack.first().copied()
    }
}

fn check_bounds(text: &str) -> Result<(), MathError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let what =
            format!("the expression has {} bytes, at most {EXPRESSION_BYTES_MAX} are read", text.len());
        return Err(MathError { column: 1, what });
    }
    let mut depth = 0usize;
    for (at, c) in text.chars().enumerate() {
        depth = match c {
            '(' => depth + 1,
            ')' => depth.saturating_sub(1),
            _ => depth,
        };
        if depth > EXPRESSION_DEPTH_MAX {
            let what =
                format!("parentheses are nested more than {EXPRESSION_DEPTH_MAX} deep; write it simpler");
            return Err(MathError { column: at + 1, what });
        }
    }
    Ok(())
}

/// How many values wait at once while the steps are done.
fn values(steps: &[Step]) -> usize {
    let (mut waiting, mut most) = (0usize, 0);
    for step in steps {
        waiting = match step {
            Step::Number(_) | Step::Variable(_) => waiting + 1,
            Step::Apply(_, count) => waiting.saturating_sub(*count) + 1,
        };
        most = most.max(waiting);
    }
    most
}
