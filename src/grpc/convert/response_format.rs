//! The form of the answer.

use super::{json, path::Path, rules, schema, violations::Violations};
use crate::{
    domain::settings::ResponseFormat,
    proto::{self, response_format::Type},
};

pub(super) fn write(format: &ResponseFormat) -> proto::ResponseFormat {
    let plain = |kind: Type| proto::ResponseFormat { r#type: kind.into(), json_schema: None, check: false };
    match format {
        ResponseFormat::Text => plain(Type::Text),
        ResponseFormat::JsonObject => plain(Type::JsonObject),
        ResponseFormat::JsonSchema { name, description, schema, strict, check } => proto::ResponseFormat {
            r#type: Type::JsonSchema.into(),
            json_schema: Some(proto::JsonSchema {
                name: name.clone(),
                description: description.clone(),
                schema: Some(json::write(schema)),
                strict: *strict,
            }),
            check: *check,
        },
    }
}

pub(super) fn read(
    at: &Path<'_>,
    format: proto::ResponseFormat,
    violations: &mut Violations,
) -> Option<ResponseFormat> {
    let proto::ResponseFormat { r#type, json_schema, check } = format;
    let schema_at = at.field("json_schema");
    let kind = match Type::try_from(r#type) {
        Ok(Type::JsonSchema) => {
            let Some(schema) = json_schema else {
                violations.add(&schema_at, format_args!("is required with TYPE_JSON_SCHEMA"));
                return None;
            };
            return read_schema(&schema_at, schema, check, violations);
        }
        Ok(Type::Text) => Some(ResponseFormat::Text),
        Ok(Type::JsonObject) => Some(ResponseFormat::JsonObject),
        Ok(Type::Unspecified) => {
            violations.add(&at.field("type"), format_args!("is required"));
            None
        }
        Err(_) => {
            rules::unknown_number(&at.field("type"), r#type, violations);
            None
        }
    };
    if check {
        let at = at.field("check");
        violations.add(&at, format_args!("goes with TYPE_JSON_SCHEMA only: leave it out, or change the type"));
    }
    if json_schema.is_some() {
        violations.add(&schema_at, format_args!("goes with TYPE_JSON_SCHEMA only: leave it out, or change the type"));
    }
    kind
}

fn read_schema(
    at: &Path<'_>,
    schema: proto::JsonSchema,
    check: bool,
    violations: &mut Violations,
) -> Option<ResponseFormat> {
    let proto::JsonSchema { name, description, schema, strict } = schema;
    rules::name(&at.field("name"), &name, violations);
    let at = at.field("schema");
    let Some(schema) = schema else {
        violations.add(&at, format_args!("is required"));
        return None;
    };
    let schema = schema::read(&at, schema, violations)?;
    Some(ResponseFormat::JsonSchema { name, description, schema, strict, check })
}
