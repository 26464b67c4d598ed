//! Facts as values of the expression language, looked up when an expression names them.

use std::{collections::HashMap, fmt};

use cel::{
    ExecutionError,
    common::{
        traits::{Indexer, Iterable, Iterator as ValIterator, Sizer},
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
            CelTimestamp, LIST_TYPE, Type,
        },
        value::{CowVal, Val},
    },
    context::VariableResolver,
};

use super::{
    AuditInput,
    fact::Fact,
    facts::{LineRecord, Record},
};

static NULL: CelNull = CelNull;
static RECORD_TYPE: Type = Type::new_unspecified_type("countersign.Record");
static LINES_TYPE: Type = LIST_TYPE;

impl<'a> Fact<'a> {
    pub(super) fn into_value<'b>(self) -> CowVal<'b, 'a> {
        match self {
            Self::Null => CowVal::Borrowed(&NULL),
            Self::Bool(value) => CowVal::owned(CelBool::from(value)),
            Self::Int(value) => CowVal::owned(CelInt::from(value)),
            Self::Double(value) => CowVal::owned(CelDouble::from(value)),
            Self::Text(text) => CowVal::owned(CelString::from(text)),
            Self::Time(time) => CowVal::owned(CelTimestamp::from(time.fixed_offset())),
            Self::Words(words) => {
                let words: Vec<Box<dyn Val + 'a>> = words
                    .into_iter()
                    .map(|word| Box::new(CelString::from(word)) as Box<dyn Val + 'a>)
                    .collect();
                CowVal::owned(CelList::from(words))
            }
            Self::Map(map) => {
                let entries: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = map
                    .iter()
                    .map(|(key, text)| {
                        let text: Box<dyn Val + 'a> = Box::new(CelString::from(text.as_str()));
                        (CelMapKey::from(key.as_str()), text)
                    })
                    .collect();
                CowVal::owned(CelMap::from(entries))
            }
        }
    }
}

impl fmt::Debug for Record<'_> {
    /// Only which record it is: what it holds belongs to people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order(_) => "order",
            Self::Customer(_) => "customer",
            Self::Stock(_) => "stock",
            Self::Policy(_) => "policy",
            Self::Line(_) => "line",
        })
    }
}

impl Val for Record<'_> {
    fn get_type(&self) -> &Type {
        &RECORD_TYPE
    }

    fn cel_type() -> &'static Type {
        &RECORD_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for Record<'_> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(name) = name.downcast_ref::<CelString<'_>>() else {
            return Err(ExecutionError::UnexpectedType {
                got: name.get_type().name().to_owned(),
                want: "string".to_owned(),
            });
        };
        self.fact(name.inner())
            .map(Fact::into_value)
            .ok_or_else(|| ExecutionError::no_such_key(name.inner()))
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

/// The lines as a list: `lines.exists(l, l.short)`, `size(lines)`, `lines[0].sku`.
#[derive(Clone, Copy, Debug)]
struct Lines<'a>(&'a [Record<'a>]);

impl Val for Lines<'_> {
    fn get_type(&self) -> &Type {
        &LINES_TYPE
    }

    fn cel_type() -> &'static Type {
        &LINES_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for Lines<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(index) = index.downcast_ref::<CelInt>() else {
            return Err(ExecutionError::UnexpectedType {
                got: index.get_type().name().to_owned(),
                want: "int".to_owned(),
            });
        };
        usize::try_from(*index.inner())
            .ok()
            .and_then(|index| self.0.get(index))
            .map(|line| CowVal::owned(*line))
            .ok_or_else(|| ExecutionError::IndexOutOfBounds((*index.inner()).into()))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Iterable for Lines<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn ValIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(LinesIterator(self.0.iter()))
    }
}

struct LinesIterator<'b, 'a>(std::slice::Iter<'b, Record<'a>>);

impl<'b, 'v, 'a: 'v> ValIterator<'b, 'v> for LinesIterator<'b, 'a> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|line| line as &'b (dyn Val + 'v))
    }
}

impl Sizer for Lines<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.0.len()).unwrap_or(i64::MAX))
    }
}

/// What names stand for while a rule is held against an order or one of its lines.
pub(super) struct Scope<'a> {
    pub(super) input: &'a AuditInput<'a>,
    pub(super) lines: &'a [Record<'a>],
    pub(super) line: Option<LineRecord<'a>>,
}

impl VariableResolver for Scope<'_> {
    /// The interpreter asks for `order.total_minor` whole before it asks for `order`.
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some((record, fact)) = name.split_once('.') {
            return Record::named(record, self.input, self.line)?
                .fact(fact)
                .map(Fact::into_value);
        }
        match name {
            "lines" => Some(CowVal::owned(Lines(self.lines))),
            "now" => Some(Fact::Time(self.input.now).into_value()),
            _ => Record::named(name, self.input, self.line).map(CowVal::owned),
        }
    }
}
