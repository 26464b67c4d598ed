//! Reading a rule's expression: what it may name is known, so that a slip of the pen is told when the rule is written
//! and not when the first order meets it.

use cel::{
    Env, IdedExpr,
    common::ast::{EntryExpr, Expr},
};

use super::facts::fact_names;

/// The longest expression, in characters.
pub(super) const EXPRESSION_CHARS_MAX: usize = 2000;

/// Names that stand for something by themselves.
const VARIABLES: &[&str] = &[
    "order", "customer", "stock", "policy", "line", "lines", "now",
];

/// An expression that can be evaluated.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) expression: IdedExpr,
    /// It names `line`: it is evaluated for each line.
    pub(super) per_line: bool,
}

/// Reads an expression or says what is wrong with it.
pub(super) fn compile(source: &str, environment: &Env) -> Result<Compiled, String> {
    if source.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    if source.chars().count() > EXPRESSION_CHARS_MAX {
        return Err(format!(
            "must have at most {EXPRESSION_CHARS_MAX} characters"
        ));
    }
    let program = environment
        .compile(source)
        .map_err(|errors| format!("cannot be read: {errors}"))?;
    let mut expression = program.expression().clone();
    let mut reader = Reader {
        bound: Vec::new(),
        per_line: false,
    };
    reader.read(&mut expression)?;
    Ok(Compiled {
        expression,
        per_line: reader.per_line,
    })
}

struct Reader {
    /// Variables of the macros around the place that is being read.
    bound: Vec<String>,
    per_line: bool,
}

impl Reader {
    /// Checks every name and joins `order.total_minor` to one name, which the interpreter then need not put together
    /// for every order.
    fn read(&mut self, expression: &mut IdedExpr) -> Result<(), String> {
        match &mut expression.expr {
            Expr::Ident(name) => self.read_name(name)?,
            Expr::Select(select) => {
                let record = match &select.operand.expr {
                    Expr::Ident(name) if !self.bound.contains(name) => Some(name.clone()),
                    _ => None,
                };
                self.read(&mut select.operand)?;
                if let Some(record) = record {
                    check_fact(&record, &select.field)?;
                    if !select.test {
                        expression.expr = Expr::Ident(format!("{record}.{}", select.field));
                    }
                }
            }
            Expr::Call(call) => {
                if let Some(target) = &mut call.target {
                    self.read(target)?;
                }
                for argument in &mut call.args {
                    self.read(argument)?;
                }
            }
            Expr::List(list) => {
                for element in &mut list.elements {
                    self.read(element)?;
                }
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.read(&mut entry.key)?;
                        self.read(&mut entry.value)?;
                    }
                }
            }
            Expr::Comprehension(comprehension) => {
                self.read(&mut comprehension.iter_range)?;
                self.read(&mut comprehension.accu_init)?;
                let names = [
                    Some(comprehension.iter_var.clone()),
                    comprehension.iter_var2.clone(),
                    Some(comprehension.accu_var.clone()),
                ];
                let outside = self.bound.len();
                for name in names.into_iter().flatten() {
                    if VARIABLES.contains(&name.as_str()) {
                        return Err(format!(
                            "uses {name} for something else: choose another letter"
                        ));
                    }
                    self.bound.push(name);
                }
                self.read(&mut comprehension.loop_cond)?;
                self.read(&mut comprehension.loop_step)?;
                self.read(&mut comprehension.result)?;
                self.bound.truncate(outside);
            }
            Expr::Struct(_) => return Err("makes a message: there are none".to_owned()),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
        Ok(())
    }

    fn read_name(&mut self, name: &str) -> Result<(), String> {
        if name == "line" {
            self.per_line = true;
        }
        let is_known = self.bound.iter().any(|bound| bound == name)
            || VARIABLES.contains(&name)
            || TYPES.contains(&name);
        if is_known {
            Ok(())
        } else {
            Err(format!(
                "names {name:?}; known are {}",
                VARIABLES.join(", ")
            ))
        }
    }
}

/// Names of types, for `type(x) == int`.
const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "optional",
];

fn check_fact(record: &str, fact: &str) -> Result<(), String> {
    match fact_names(record) {
        Some(names) if names.contains(&fact) => Ok(()),
        Some(names) => Err(format!(
            "names {record}.{fact}; known are {}",
            names.join(", ")
        )),
        // `lines` and `now` have no facts; `optional.of` and the like are functions.
        None if VARIABLES.contains(&record) => Err(format!("names {record}.{fact}: there is none")),
        None => Ok(()),
    }
}
