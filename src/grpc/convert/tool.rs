//! Tools.

use std::collections::HashSet;

use super::{json, path::Path, rules, schema, violations::Violations};
use crate::{
    domain::settings::{Function, Tool},
    proto,
};

const MAX_TOOLS: usize = 128;
const MAX_DESCRIPTION: usize = 8192;

/// A tool as the wire has it.
pub fn write(tool: &Tool) -> proto::Tool {
    let kind = match tool {
        Tool::Function(Function { name, description, parameters, strict }) => {
            proto::tool::Kind::Function(proto::Function {
                name: name.clone(),
                description: description.clone(),
                parameters: parameters.as_ref().map(json::write),
                strict: *strict,
            })
        }
    };
    proto::Tool { kind: Some(kind) }
}

/// The tools of a message, which stand in its field `tools`.
pub(super) fn read_all(at: &Path<'_>, tools: Vec<proto::Tool>, violations: &mut Violations) -> Vec<Tool> {
    if tools.len() > MAX_TOOLS {
        let at = at.field("tools");
        violations.add(&at, format_args!("must be at most {MAX_TOOLS} tools, has {}: offer fewer", tools.len()));
        return Vec::new();
    }
    let mut names = HashSet::new();
    let mut read = Vec::with_capacity(tools.len());
    for (i, tool) in tools.into_iter().enumerate() {
        let at = at.item("tools", i);
        let Some(Tool::Function(function)) = read_one(&at, tool, violations) else { continue };
        if !names.insert(function.name.clone()) {
            violations.add(
                &at.field("function").field("name"),
                format_args!("is the name of an earlier tool too: rename one"),
            );
        }
        read.push(Tool::Function(function));
    }
    read
}

fn read_one(at: &Path<'_>, tool: proto::Tool, violations: &mut Violations) -> Option<Tool> {
    let proto::Tool { kind } = tool;
    match kind {
        Some(proto::tool::Kind::Function(function)) => {
            read_function(&at.field("function"), function, violations).map(Tool::Function)
        }
        None => {
            violations
                .add(at, format_args!("must be exactly one kind of tool that this release knows: set `function`"));
            None
        }
    }
}

fn read_function(at: &Path<'_>, function: proto::Function, violations: &mut Violations) -> Option<Function> {
    let proto::Function { name, description, parameters, strict } = function;
    rules::name(&at.field("name"), &name, violations);
    rules::at_most(&at.field("description"), &description, MAX_DESCRIPTION, violations);
    let parameters = match parameters {
        Some(parameters) => Some(schema::read_arguments(&at.field("parameters"), parameters, violations)?),
        None => None,
    };
    Some(Function { name, description, parameters, strict })
}
