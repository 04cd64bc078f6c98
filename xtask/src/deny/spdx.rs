//! SPDX licence expressions: <https://spdx.github.io/spdx-spec/v3.0.1/annexes/spdx-license-expressions/>.

use anyhow::{Result, bail};

/// Deeper nesting than any real licence has.
const MAX_DEPTH: usize = 32;

/// A parsed expression.
#[derive(Debug, PartialEq, Eq)]
pub enum Expression {
    /// One licence, with its exception if it has one: `Apache-2.0 WITH LLVM-exception`.
    Licence(String),
    /// Any of these will do.
    Any(Vec<Expression>),
    /// All of these apply.
    All(Vec<Expression>),
}

impl Expression {
    /// Parses an expression. The slash of old crates (`MIT/Apache-2.0`) means OR.
    pub fn parse(text: &str) -> Result<Self> {
        let spaced = text
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut parser = Parser {
            words: &words,
            depth: 0,
        };
        let expression = parser.any()?;
        match parser.words.first() {
            None => Ok(expression),
            Some(word) => bail!("unexpected {word:?}"),
        }
    }

    /// True if one can choose so that every licence that applies is allowed.
    pub fn is_allowed(&self, allowed: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Licence(id) => allowed(id),
            Self::Any(choices) => choices.iter().any(|choice| choice.is_allowed(allowed)),
            Self::All(parts) => parts.iter().all(|part| part.is_allowed(allowed)),
        }
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    depth: usize,
}

impl Parser<'_> {
    fn takes(&mut self, expected: &str) -> bool {
        match self.words.split_first() {
            Some((word, rest)) if word.eq_ignore_ascii_case(expected) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    /// OR binds least.
    fn any(&mut self) -> Result<Expression> {
        let mut choices = vec![self.all()?];
        while self.takes("OR") {
            choices.push(self.all()?);
        }
        Ok(single(choices, Expression::Any))
    }

    fn all(&mut self) -> Result<Expression> {
        let mut parts = vec![self.one()?];
        while self.takes("AND") {
            parts.push(self.one()?);
        }
        Ok(single(parts, Expression::All))
    }

    fn one(&mut self) -> Result<Expression> {
        if self.takes("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                bail!("too many parentheses");
            }
            let inner = self.any()?;
            self.depth -= 1;
            if !self.takes(")") {
                bail!("a parenthesis is not closed");
            }
            return Ok(inner);
        }
        let mut licence = self.id()?.to_owned();
        if self.takes("WITH") {
            licence = format!("{licence} WITH {}", self.id()?);
        }
        Ok(Expression::Licence(licence))
    }

    fn id(&mut self) -> Result<&str> {
        match self.words.split_first() {
            Some((word, rest)) if !["OR", "AND", "WITH", "(", ")"].contains(word) => {
                self.words = rest;
                Ok(word)
            }
            _ => bail!("a licence is missing"),
        }
    }
}

fn single(mut items: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    if items.len() == 1 {
        items.remove(0)
    } else {
        many(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> bool {
        let list = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC"];
        Expression::parse(text)
            .unwrap()
            .is_allowed(&|id| list.contains(&id))
    }

    #[test]
    fn or_needs_one_and_needs_both() {
        assert!(allowed("MIT"));
        assert!(!allowed("GPL-3.0"));
        assert!(allowed("GPL-3.0 OR MIT"));
        assert!(!allowed("GPL-3.0 AND MIT"));
        assert!(allowed("Apache-2.0 AND ISC"));
    }

    #[test]
    fn and_binds_more_than_or() {
        assert!(allowed("MIT OR GPL-3.0 AND GPL-2.0"));
        assert!(allowed("GPL-3.0 AND GPL-2.0 OR MIT"));
        assert!(!allowed("(MIT OR GPL-3.0) AND GPL-2.0"));
        assert!(allowed("(MIT OR Apache-2.0) AND ISC"));
        assert!(allowed("((MIT))"));
    }

    #[test]
    fn an_exception_makes_another_licence() {
        assert!(allowed("Apache-2.0 WITH LLVM-exception"));
        assert!(!allowed("MIT WITH LLVM-exception"));
        assert!(allowed("GPL-3.0 OR Apache-2.0 WITH LLVM-exception"));
    }

    #[test]
    fn a_slash_means_or() {
        assert!(allowed("MIT/GPL-3.0"));
        assert!(allowed("Unlicense / MIT"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "MIT OR",
            "OR MIT",
            "MIT ISC",
            "(MIT",
            "MIT)",
            "WITH x",
            "SEE LICENSE IN x",
            "MIT WITH",
        ] {
            assert!(Expression::parse(text).is_err(), "{text:?}");
        }
        assert!(Expression::parse(&"(".repeat(10_000)).is_err());
    }
}
