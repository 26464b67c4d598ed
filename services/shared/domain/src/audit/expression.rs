//! Reading a rule's expression: what it may name is known, so that a slip of the pen is told when the rule is written
//! and not when the first order meets it.

use cel::{
    Env, IdedExpr,
    common::ast::{ComprehensionExpr, EntryExpr, Expr},
};

use super::facts::fact_names;

/// The longest expression, in characters.
const EXPRESSION_CHARS_MAX: usize = 2000;
/// How deep an expression may be nested: each level takes stack from whoever judges an order.
const DEPTH_MAX: usize = 20;
/// How many loops may stand in one another: an order of 500 lines is gone through 250,000 times by two.
const LOOPS_MAX: usize = 2;
/// The parser takes up to 200 KB of stack for each bracket, and gives up at a depth of 96.
const PARSER_STACK_BYTES: usize = 64 << 20;

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
    // On a stack of its own: too many brackets would end the whole program, not just this call.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("expression".to_owned())
            .stack_size(PARSER_STACK_BYTES)
            .spawn_scoped(scope, || parse(source, environment))
            .map_err(|error| format!("cannot be read for want of memory: {error}"))?
            .join()
            .unwrap_or_else(|_| Err("cannot be read".to_owned()))
    })
}

fn parse(source: &str, environment: &Env) -> Result<Compiled, String> {
    let program = environment
        .compile(source)
        .map_err(|errors| format!("cannot be read: {errors}"))?;
    let mut expression = program.expression().clone();
    let mut reader = Reader {
        bound: Vec::new(),
        depth: 0,
        loops: 0,
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
    depth: usize,
    loops: usize,
    per_line: bool,
}

impl Reader {
    /// Checks every name and joins `order.total_minor` to one name, which the interpreter then need not put together
    /// for every order.
    fn read(&mut self, expression: &mut IdedExpr) -> Result<(), String> {
        if self.depth >= DEPTH_MAX {
            return Err(format!("must not be nested deeper than {DEPTH_MAX} levels"));
        }
        self.depth += 1;
        self.read_within(expression)?;
        self.depth -= 1;
        Ok(())
    }

    fn read_within(&mut self, expression: &mut IdedExpr) -> Result<(), String> {
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
                let is_operator = !call
                    .func_name
                    .starts_with(|c: char| c.is_ascii_alphabetic());
                if !is_operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(format!(
                        "calls {}; known are {}",
                        call.func_name,
                        FUNCTIONS.join(", ")
                    ));
                }
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
            Expr::Comprehension(comprehension) => self.read_loop(comprehension)?,
            Expr::Struct(_) => return Err("makes a message: there are none".to_owned()),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
        Ok(())
    }

    fn read_loop(&mut self, comprehension: &mut ComprehensionExpr) -> Result<(), String> {
        self.read(&mut comprehension.iter_range)?;
        self.read(&mut comprehension.accu_init)?;
        if self.loops >= LOOPS_MAX {
            return Err(format!(
                "must not have more than {LOOPS_MAX} loops in one another"
            ));
        }
        self.loops += 1;
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
        self.loops -= 1;
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
];

/// Functions of the language's standard library.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
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
