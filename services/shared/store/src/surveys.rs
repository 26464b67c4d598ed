//! Whether customers were asked how it was.

use chrono::{DateTime, Utc};
use countersign_domain::{
    feedback::Feedback,
    ids::OrderId,
    survey::{Subject, Survey, SurveyState},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, sea_query::Expr,
};

use crate::{
    Store,
    entity::{surveyed_customers, surveys},
    error::{During, StoreError},
    rows::{At, int},
};

/// Stores what was decided. False when the customer was asked by somebody else since the decision was made: two orders
/// that come off the same van ask once.
pub(crate) async fn insert_survey(
    transaction: &DatabaseTransaction,
    survey: &Survey,
) -> Result<bool, StoreError> {
    const DOING: &str = "insert a survey";
    if survey.state == SurveyState::Asked && !claim_customer(transaction, survey).await? {
        return Ok(false);
    }
    let row = surveys::ActiveModel {
        order_id: Set(survey.order_id.as_uuid()),
        kind: Set(survey.subject.kind.as_str().to_owned()),
        number: Set(int(DOING, survey.subject.number)?),
        state: Set(survey.state.as_str().to_owned()),
        reason: Set(survey.reason.map(|reason| reason.as_str().to_owned())),
        customer: Set(survey.customer.clone()),
        order_type: Set(survey.order_type.clone()),
        source_channel: Set(survey.source_channel.clone()),
        create_time: Set(survey.create_time),
        expire_time: Set(survey.expire_time),
        answer_time: Set(survey.answer_time),
    };
    surveys::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .during(DOING)?;
    Ok(true)
}

async fn claim_customer(
    transaction: &DatabaseTransaction,
    survey: &Survey,
) -> Result<bool, StoreError> {
    const DOING: &str = "claim a customer to be asked";
    if let Some(previous) = survey.previous_ask_time {
        let claimed = surveyed_customers::Entity::update_many()
            .col_expr(
                surveyed_customers::Column::AskTime,
                Expr::value(survey.create_time),
            )
            .filter(surveyed_customers::Column::Customer.eq(survey.customer.as_str()))
            .filter(surveyed_customers::Column::AskTime.eq(previous))
            .exec(transaction)
            .await
            .during(DOING)?;
        return Ok(claimed.rows_affected == 1);
    }
    let row = surveyed_customers::ActiveModel {
        customer: Set(survey.customer.clone()),
        ask_time: Set(survey.create_time),
    };
    let inserted = surveyed_customers::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .during(DOING);
    match inserted {
        Err(error) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(true),
    }
}

/// Notes that the customer who was asked has answered; the first answer counts.
pub(crate) async fn mark_answered(
    transaction: &DatabaseTransaction,
    feedback: &Feedback,
) -> Result<(), StoreError> {
    const DOING: &str = "mark a survey as answered";
    surveys::Entity::update_many()
        .col_expr(
            surveys::Column::AnswerTime,
            Expr::value(feedback.answer_time),
        )
        .filter(surveys::Column::OrderId.eq(feedback.order_id.as_uuid()))
        .filter(surveys::Column::Kind.eq(feedback.subject.kind.as_str()))
        .filter(surveys::Column::Number.eq(int(DOING, feedback.subject.number)?))
        .filter(surveys::Column::AnswerTime.is_null())
        .exec(transaction)
        .await
        .during(DOING)?;
    Ok(())
}

impl Store {
    /// What was decided about asking for a subject, if anything was.
    pub async fn find_survey(
        &self,
        order: OrderId,
        subject: Subject,
    ) -> Result<Option<Survey>, StoreError> {
        const DOING: &str = "find a survey";
        let key = (
            order.as_uuid(),
            subject.kind.as_str().to_owned(),
            int(DOING, subject.number)?,
        );
        let row = surveys::Entity::find_by_id(key)
            .one(&self.db)
            .await
            .during(DOING)?;
        row.map(|row| {
            let at = At {
                table: "surveys",
                row: &row.order_id,
            };
            Ok(Survey {
                order_id: order,
                subject,
                state: at.word("state", &row.state)?,
                reason: row
                    .reason
                    .as_deref()
                    .map(|reason| at.word("reason", reason))
                    .transpose()?,
                customer: row.customer,
                order_type: row.order_type,
                source_channel: row.source_channel,
                create_time: row.create_time,
                expire_time: row.expire_time,
                answer_time: row.answer_time,
                previous_ask_time: None,
            })
        })
        .transpose()
    }

    /// When a customer was asked last how it was, about any order.
    pub async fn last_ask_time(&self, customer: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row = surveyed_customers::Entity::find_by_id(customer)
            .one(&self.db)
            .await
            .during("find when a customer was asked")?;
        Ok(row.map(|row| row.ask_time))
    }
}
