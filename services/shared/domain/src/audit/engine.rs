//! Compiled rules and how an order is held against them.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, IdedExpr, Value, common::types::CelBool};

use super::{
    AuditInput, AuditRule, Finding, Severity,
    expression::{self, Compiled},
    facts::{LineRecord, Record, records},
    field_value::{cut, value_of},
    template::Template,
    values::Scope,
};
use crate::policy::OrderPolicy;

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}: {problem}")]
pub struct RuleError {
    /// Which rule.
    pub rule: String,
    /// What is wrong.
    pub problem: String,
}

/// The functions that expressions may call: those of the language's standard library.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

struct Rule {
    definition: AuditRule,
    compiled: Compiled,
    message: Template,
    customer_message: Template,
    field: Template,
}

/// The rules in force, compiled once and shared by all threads.
#[derive(Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .rules
            .iter()
            .map(|rule| format!("{}@{}", rule.definition.id, rule.definition.version));
        f.debug_list().entries(names).finish()
    }
}

impl RuleSet {
    /// Compiles the newest version of each rule; a rule whose newest version is switched off is left out. All rules
    /// that cannot be used are named.
    pub fn compile(rules: &[AuditRule]) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut compiled = Vec::new();
        for rule in newest(rules, &mut errors) {
            if !rule.enabled {
                continue;
            }
            match compile_rule(rule) {
                Ok(rule) => compiled.push(rule),
                Err(problem) => errors.push(RuleError {
                    rule: rule.id.clone(),
                    problem,
                }),
            }
        }
        if errors.is_empty() {
            Ok(Self { rules: compiled })
        } else {
            Err(errors)
        }
    }

    /// Holds an order against the rules. Findings come in the sequence of the rules, and of the lines within a rule.
    ///
    /// A rule that fails on this order is a finding too, for a member of staff to look at: no rule is passed over in
    /// silence.
    pub fn evaluate(&self, input: &AuditInput<'_>) -> Vec<Finding> {
        let lines: Vec<LineRecord<'_>> = records(input).collect();
        let line_values: Vec<Record<'_>> = lines.iter().copied().map(Record::Line).collect();
        let order_scope = Scope {
            input,
            lines: &line_values,
            line: None,
        };
        let line_scopes: Vec<Scope<'_>> = lines
            .iter()
            .map(|line| Scope {
                line: Some(*line),
                ..order_scope
            })
            .collect();
        let order_context = context(&order_scope);
        let line_contexts: Vec<Context<'_, '_>> = line_scopes.iter().map(context).collect();

        let mut findings = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.applies(input.policy)) {
            if rule.compiled.per_line {
                let mut failed = false;
                for (scope, context) in line_scopes.iter().zip(&line_contexts) {
                    match is_broken(&rule.compiled.expression, context) {
                        Ok(true) => findings.push(rule.finding(scope)),
                        // What fails on one line fails on most: it is told once.
                        Err(problem) if !failed => {
                            failed = true;
                            findings.push(rule.failure(scope, &problem));
                        }
                        Ok(false) | Err(_) => {}
                    }
                }
            } else {
                match is_broken(&rule.compiled.expression, &order_context) {
                    Ok(false) => {}
                    Ok(true) => findings.push(rule.finding(&order_scope)),
                    Err(problem) => findings.push(rule.failure(&order_scope, &problem)),
                }
            }
        }
        findings
    }
}

fn context<'v>(scope: &'v Scope<'v>) -> Context<'v, 'v> {
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    context.set_variable_resolver(scope);
    context
}

/// The newest version of each rule, in the sequence in which the rules are first named.
fn newest<'r>(rules: &'r [AuditRule], errors: &mut Vec<RuleError>) -> Vec<&'r AuditRule> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut newest: Vec<&AuditRule> = Vec::new();
    for rule in rules {
        let place = *places.entry(rule.id.as_str()).or_insert_with(|| {
            newest.push(rule);
            newest.len() - 1
        });
        let Some(known) = newest.get_mut(place) else {
            continue;
        };
        if rule.version > known.version {
            *known = rule;
        } else if rule.version == known.version && rule != *known {
            errors.push(RuleError {
                rule: rule.id.clone(),
                problem: format!("version {} is there twice and differs", rule.version),
            });
        }
    }
    newest
}

fn compile_rule(rule: &AuditRule) -> Result<Rule, String> {
    let compiled =
        compile_expression(&rule.expression).map_err(|problem| format!("expression {problem}"))?;
    let template = |field: &str, text: &str| {
        Template::parse(text, compiled.per_line).map_err(|problem| format!("{field} {problem}"))
    };
    Ok(Rule {
        message: template("message", &rule.message)?,
        customer_message: template("customer_message", &rule.customer_message)?,
        field: template("field", &rule.field)?,
        definition: rule.clone(),
        compiled,
    })
}

/// Reads an expression or says what is wrong with it.
pub(super) fn compile_expression(source: &str) -> Result<Compiled, String> {
    expression::compile(source, &ENVIRONMENT)
}

/// Whether an expression says that its rule is broken.
fn is_broken(expression: &IdedExpr, context: &Context<'_, '_>) -> Result<bool, String> {
    // A fault of the interpreter must not take down the orders that are judged together with this one.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        match Value::resolve_val(expression, context) {
            Ok(value) => value
                .downcast_ref::<CelBool>()
                .map(|value| *value.inner())
                .ok_or_else(|| {
                    format!(
                        "the expression gave {}, not true or false",
                        value.get_type().name()
                    )
                }),
            Err(error) => Err(error.to_string()),
        }
    }));
    outcome.unwrap_or_else(|_| Err("the expression cannot be evaluated".to_owned()))
}

impl Rule {
    fn applies(&self, policy: &OrderPolicy) -> bool {
        let types = &self.definition.order_types;
        (types.is_empty() || types.contains(&policy.order_type))
            && !policy.disabled_rules.contains(&self.definition.id)
    }

    fn finding(&self, scope: &Scope<'_>) -> Finding {
        let record = |name: &str| Record::named(name, scope.input, scope.line);
        let mut field = self.field.fill(record);
        if let Some(line) = scope.line {
            field = field.replace("[]", &format!("[{}]", line.index));
        }
        Finding {
            rule: self.definition.id.clone(),
            rule_version: self.definition.version,
            dimension: self.definition.dimension,
            severity: self.definition.severity,
            message: self.message.fill(record),
            value: value_of(&field, scope.input, scope.line),
            field,
            options: self.definition.options.clone(),
            customer_message: self.customer_message.fill(record),
            hold: self.definition.hold,
            waived: false,
            foreign_order: scope
                .input
                .duplicate_of
                .filter(|it| !it.own && self.is_about_duplicates())
                .map(|it| it.order),
        }
    }

    fn is_about_duplicates(&self) -> bool {
        let AuditRule {
            expression,
            message,
            ..
        } = &self.definition;
        expression.contains("duplicate") || message.contains("duplicate_of")
    }

    /// What is found when the rule itself does not work on this order.
    fn failure(&self, scope: &Scope<'_>, problem: &str) -> Finding {
        Finding {
            severity: Severity::Review,
            message: cut(&format!(
                "rule {} could not be applied: {problem}",
                self.definition.id
            )),
            value: String::new(),
            options: Vec::new(),
            customer_message: String::new(),
            hold: None,
            ..self.finding(scope)
        }
    }
}
