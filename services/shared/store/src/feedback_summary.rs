//! What customers said in a span of time, counted by the database.

use chrono::{DateTime, Utc};
use countersign_domain::survey::SurveyState;
use sea_orm::{ConnectionTrait, QueryResult, Statement};

use crate::{
    Store,
    error::{During, StoreError},
    rows::At,
};

/// What a summary tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackGrouping {
    /// Nothing.
    Nothing,
    /// Goods, with their own stars where the customer gave some.
    Product,
    /// Where the goods came from.
    Warehouse,
    /// How the order came.
    Channel,
    /// Type of the order.
    OrderType,
    /// By what way the feedback came.
    Source,
}

/// How many gave so many stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StarsCount {
    /// Of the grouping; empty where nothing is told apart, or for goods without a warehouse.
    pub group: String,
    /// 1 to 5.
    pub stars: u32,
    /// How many.
    pub count: i64,
}

/// How many were asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedCount {
    /// Of the grouping.
    pub group: String,
    /// In the span.
    pub asked: i64,
    /// Of those, whenever they answered.
    pub answered: i64,
}

impl Store {
    /// What was said first from `start` on and before `end`.
    pub async fn count_feedback(
        &self,
        grouping: FeedbackGrouping,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Result<Vec<StarsCount>, StoreError> {
        const DOING: &str = "count feedback";
        let rows = self.rows(DOING, stars_sql(grouping), vec![start.into(), end.into()]);
        rows.await?
            .iter()
            .map(|row| {
                let group: Option<String> = row.try_get("", "word").during(DOING)?;
                let at = At {
                    table: "feedback",
                    row: &"a count",
                };
                Ok(StarsCount {
                    group: group.unwrap_or_default(),
                    stars: at.unsigned("stars", row.try_get("", "stars").during(DOING)?)?,
                    count: row.try_get("", "n").during(DOING)?,
                })
            })
            .collect()
    }

    /// Who was asked from `start` on and before `end`. By what way an answer would come cannot be known of those who gave
    /// none, so that grouping has no such count.
    pub async fn count_asked(
        &self,
        grouping: FeedbackGrouping,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Result<Vec<AskedCount>, StoreError> {
        const DOING: &str = "count surveys";
        let Some(sql) = asked_sql(grouping) else {
            return Ok(Vec::new());
        };
        let state = SurveyState::Asked.as_str();
        let rows = self.rows(DOING, sql, vec![state.into(), start.into(), end.into()]);
        rows.await?
            .iter()
            .map(|row| {
                let group: Option<String> = row.try_get("", "word").during(DOING)?;
                Ok(AskedCount {
                    group: group.unwrap_or_default(),
                    asked: row.try_get("", "asked").during(DOING)?,
                    answered: row.try_get("", "answered").during(DOING)?,
                })
            })
            .collect()
    }

    async fn rows(
        &self,
        doing: &'static str,
        sql: &'static str,
        values: Vec<sea_orm::Value>,
    ) -> Result<Vec<QueryResult>, StoreError> {
        self.db
            .query_all_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await
            .during(doing)
    }
}

const fn stars_sql(grouping: FeedbackGrouping) -> &'static str {
    match grouping {
        FeedbackGrouping::Nothing => {
            "SELECT NULL AS word, stars, COUNT(*) AS n FROM feedback \
             WHERE create_time >= ? AND create_time < ? GROUP BY stars"
        }
        FeedbackGrouping::Channel => {
            "SELECT source_channel AS word, stars, COUNT(*) AS n FROM feedback \
             WHERE create_time >= ? AND create_time < ? GROUP BY source_channel, stars"
        }
        FeedbackGrouping::OrderType => {
            "SELECT order_type AS word, stars, COUNT(*) AS n FROM feedback \
             WHERE create_time >= ? AND create_time < ? GROUP BY order_type, stars"
        }
        FeedbackGrouping::Source => {
            "SELECT source AS word, stars, COUNT(*) AS n FROM feedback \
             WHERE create_time >= ? AND create_time < ? GROUP BY source, stars"
        }
        FeedbackGrouping::Product => {
            "SELECT sku AS word, stars, COUNT(DISTINCT feedback_id) AS n FROM feedback_lines \
             WHERE create_time >= ? AND create_time < ? GROUP BY sku, stars"
        }
        FeedbackGrouping::Warehouse => {
            "SELECT l.warehouse AS word, f.stars AS stars, COUNT(DISTINCT f.id) AS n \
             FROM feedback f JOIN feedback_lines l ON l.feedback_id = f.id \
             WHERE f.create_time >= ? AND f.create_time < ? GROUP BY l.warehouse, f.stars"
        }
    }
}

const fn asked_sql(grouping: FeedbackGrouping) -> Option<&'static str> {
    Some(match grouping {
        FeedbackGrouping::Nothing => {
            "SELECT NULL AS word, COUNT(*) AS asked, COUNT(answer_time) AS answered FROM surveys \
             WHERE state = ? AND create_time >= ? AND create_time < ?"
        }
        FeedbackGrouping::Channel => {
            "SELECT source_channel AS word, COUNT(*) AS asked, COUNT(answer_time) AS answered FROM surveys \
             WHERE state = ? AND create_time >= ? AND create_time < ? GROUP BY source_channel"
        }
        FeedbackGrouping::OrderType => {
            "SELECT order_type AS word, COUNT(*) AS asked, COUNT(answer_time) AS answered FROM surveys \
             WHERE state = ? AND create_time >= ? AND create_time < ? GROUP BY order_type"
        }
        FeedbackGrouping::Product => {
            "SELECT l.sku AS word, COUNT(DISTINCT s.order_id) AS asked, \
             COUNT(DISTINCT CASE WHEN s.answer_time IS NOT NULL THEN s.order_id END) AS answered \
             FROM surveys s JOIN order_lines l ON l.order_id = s.order_id AND l.delivered > 0 \
             WHERE s.state = ? AND s.create_time >= ? AND s.create_time < ? GROUP BY l.sku"
        }
        FeedbackGrouping::Warehouse => {
            "SELECT l.warehouse AS word, COUNT(DISTINCT s.order_id) AS asked, \
             COUNT(DISTINCT CASE WHEN s.answer_time IS NOT NULL THEN s.order_id END) AS answered \
             FROM surveys s JOIN order_lines l ON l.order_id = s.order_id AND l.delivered > 0 \
             WHERE s.state = ? AND s.create_time >= ? AND s.create_time < ? GROUP BY l.warehouse"
        }
        FeedbackGrouping::Source => return None,
    })
}
