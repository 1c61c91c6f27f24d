//! Tools of Mistral's own.

use super::{path::Path, rules, tool, violations::Violations};
use crate::{
    domain::tool::{Connector, ConnectorAuthorization, ConnectorKind},
    proto::{self, tool::Kind},
};

const MAX_LIBRARIES: usize = 64;

/// What tells it from other connectors: two of one name are refused by Mistral.
pub(super) fn name(connector: &Connector) -> &str {
    match &connector.kind {
        ConnectorKind::Custom { connector_id, .. } => connector_id,
        ConnectorKind::WebSearch
        | ConnectorKind::WebSearchPremium
        | ConnectorKind::CodeInterpreter
        | ConnectorKind::ImageGeneration
        | ConnectorKind::DocumentLibrary { .. } => connector.type_name(),
    }
}

/// It as the wire has it.
pub(super) fn write(connector: &Connector) -> Kind {
    let Connector { kind, include, exclude, requires_confirmation } = connector.clone();
    let plain =
        |include, exclude, requires_confirmation| proto::ConnectorTool { include, exclude, requires_confirmation };
    match kind {
        ConnectorKind::WebSearch => Kind::WebSearch(plain(include, exclude, requires_confirmation)),
        ConnectorKind::WebSearchPremium => Kind::WebSearchPremium(plain(include, exclude, requires_confirmation)),
        ConnectorKind::CodeInterpreter => Kind::CodeInterpreter(plain(include, exclude, requires_confirmation)),
        ConnectorKind::ImageGeneration => Kind::ImageGeneration(plain(include, exclude, requires_confirmation)),
        ConnectorKind::DocumentLibrary { library_ids } => {
            Kind::DocumentLibrary(proto::DocumentLibraryTool { library_ids, include, exclude, requires_confirmation })
        }
        ConnectorKind::Custom { connector_id, authorization } => {
            let (authorization_type, authorization_secret) =
                authorization.map(|ConnectorAuthorization { kind, secret }| (kind, secret)).unwrap_or_default();
            Kind::Connector(proto::CustomConnectorTool {
                connector_id,
                authorization_type,
                authorization_secret,
                include,
                exclude,
                requires_confirmation,
            })
        }
    }
}

/// A tool of that kind, which stands at `at`. Other kinds are none.
pub(super) fn read(at: &Path<'_>, kind: Kind, violations: &mut Violations) -> Option<Connector> {
    let (field, kind, include, exclude, requires_confirmation) = match kind {
        Kind::WebSearch(plain) => simple("web_search", ConnectorKind::WebSearch, plain),
        Kind::WebSearchPremium(plain) => simple("web_search_premium", ConnectorKind::WebSearchPremium, plain),
        Kind::CodeInterpreter(plain) => simple("code_interpreter", ConnectorKind::CodeInterpreter, plain),
        Kind::ImageGeneration(plain) => simple("image_generation", ConnectorKind::ImageGeneration, plain),
        Kind::DocumentLibrary(proto::DocumentLibraryTool { library_ids, include, exclude, requires_confirmation }) => {
            let at = at.field("document_library");
            if library_ids.is_empty() || library_ids.len() > MAX_LIBRARIES {
                let at = at.field("library_ids");
                violations.add(&at, format_args!("must be 1 to {MAX_LIBRARIES} ids, has {}", library_ids.len()));
            }
            tool::check_names(&at, "library_ids", &library_ids, violations);
            (
                "document_library",
                ConnectorKind::DocumentLibrary { library_ids },
                include,
                exclude,
                requires_confirmation,
            )
        }
        Kind::Connector(custom) => {
            let proto::CustomConnectorTool {
                connector_id,
                authorization_type,
                authorization_secret,
                include,
                exclude,
                requires_confirmation,
            } = custom;
            let at = at.field("connector");
            rules::visible_ascii(&at.field("connector_id"), &connector_id, 256, violations);
            let authorization = read_authorization(&at, authorization_type, authorization_secret, violations);
            let kind = ConnectorKind::Custom { connector_id, authorization };
            ("connector", kind, include, exclude, requires_confirmation)
        }
        Kind::Function(_) | Kind::Mcp(_) | Kind::HttpRequest(_) | Kind::HumanHandoff(_) => return None,
    };
    let at = at.field(field);
    tool::check_choice(&at, &include, &exclude, violations);
    tool::check_names(&at, "requires_confirmation", &requires_confirmation, violations);
    Some(Connector { kind, include, exclude, requires_confirmation })
}

fn simple(
    field: &'static str,
    kind: ConnectorKind,
    plain: proto::ConnectorTool,
) -> (&'static str, ConnectorKind, Vec<String>, Vec<String>, Vec<String>) {
    let proto::ConnectorTool { include, exclude, requires_confirmation } = plain;
    (field, kind, include, exclude, requires_confirmation)
}

fn read_authorization(
    at: &Path<'_>,
    kind: String,
    secret: String,
    violations: &mut Violations,
) -> Option<ConnectorAuthorization> {
    if kind.is_empty() && secret.is_empty() {
        return None;
    }
    if !matches!(kind.as_str(), "oauth2-token" | "api-key") {
        let at = at.field("authorization_type");
        violations.add(&at, format_args!("must be \"oauth2-token\" or \"api-key\", with `authorization_secret`"));
    }
    rules::name(&at.field("authorization_secret"), &secret, violations);
    Some(ConnectorAuthorization { kind, secret })
}
