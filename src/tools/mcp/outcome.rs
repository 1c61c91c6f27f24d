//! A tool's result, as the model is told of it.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};

use crate::domain::{Chunk, tool::ToolOutcome};

/// The outcome of a call that the server answered. Of content and of structured content so many bytes are kept each.
pub(super) fn of(result: CallToolResult, max_bytes: usize) -> ToolOutcome {
    let CallToolResult { content, structured_content, is_error, .. } = result;
    let structured = structured_content.map(|value| value.to_string());
    let mut kept = Kept { content: Vec::new(), left: max_bytes, max_bytes };
    for block in content {
        kept.add(block);
    }
    if let Some(text) = structured.as_ref().filter(|_| kept.content.is_empty()) {
        kept.text(text.clone());
    }
    let error = (is_error == Some(true)).then(|| why(&kept.content));
    // A piece of JSON is none.
    let info = structured.filter(|text| text.len() <= max_bytes).unwrap_or_default();
    ToolOutcome { content: kept.content, info, error }
}

fn why(content: &[Chunk]) -> String {
    let texts: Vec<&str> = content
        .iter()
        .filter_map(|chunk| match chunk {
            Chunk::Text(text) => Some(text.trim()),
            _ => None,
        })
        .filter(|text| !text.is_empty())
        .collect();
    if texts.is_empty() { "the tool failed".to_owned() } else { texts.join("\n") }
}

/// The images that models take, by what their base64 begins with.
const IMAGES: [(&str, &str); 4] =
    [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];

struct Kept {
    content: Vec<Chunk>,
    left: usize,
    max_bytes: usize,
}

impl Kept {
    fn add(&mut self, block: ContentBlock) {
        match block {
            ContentBlock::Text(text) => self.text(text.text),
            ContentBlock::Image(image) => self.image(&image.mime_type, &image.data),
            ContentBlock::Audio(audio) => {
                self.whole("a sound", audio.data.len(), Chunk::InputAudio { data: audio.data });
            }
            ContentBlock::Resource(embedded) => match embedded.resource {
                ResourceContents::TextResourceContents { text, .. } => self.text(text),
                ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                    let is_image = mime_type.as_deref().is_some_and(|mime_type| mime_type.starts_with("image/"));
                    match mime_type.filter(|_| is_image) {
                        Some(mime_type) => self.image(&mime_type, &blob),
                        None => self.text(format!("[a file that is no text: {uri}]")),
                    }
                }
                // The enum may grow.
                _ => self.text("[a resource of an unknown kind]".into()),
            },
            ContentBlock::ResourceLink(link) => self.text(format!("[{}]({})", link.name, link.uri)),
            // The enum may grow.
            _ => self.text("[content of an unknown kind]".into()),
        }
    }

    fn text(&mut self, mut text: String) {
        let bytes = text.len();
        let kept = (0..=self.left.min(bytes)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        if kept < bytes {
            text.truncate(kept);
            text.push_str(&format!("\n[cut here: {bytes} bytes, and {} are kept of a result]", self.max_bytes));
        }
        self.left -= kept;
        self.content.push(Chunk::Text(text));
    }

    /// An image that no model takes would make every later turn of the conversation fail: it is known by its first bytes.
    fn image(&mut self, mime_type: &str, base64: &str) {
        let Some((_, mime_type)) = IMAGES.iter().find(|(start, _)| base64.starts_with(start)) else {
            return self.text(format!("[an image that models do not take: {mime_type}]"));
        };
        let url = format!("data:{mime_type};base64,{base64}");
        self.whole("an image", url.len(), Chunk::ImageUrl { url, detail: String::new() });
    }

    /// Half of an image is none.
    fn whole(&mut self, what: &str, bytes: usize, chunk: Chunk) {
        if bytes <= self.left {
            self.left -= bytes;
            self.content.push(chunk);
        } else {
            let text = format!("[{what} is left out: {bytes} bytes, and {} are kept of a result]", self.max_bytes);
            self.content.push(Chunk::Text(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn outcome(result: Value, max_bytes: usize) -> ToolOutcome {
        of(serde_json::from_value(result).expect("a result"), max_bytes)
    }

    #[test]
    fn each_kind_of_content_has_its_chunk() {
        let result = json!({"content": [
            {"type": "text", "text": "a"},
            {"type": "image", "data": "iVBORw0KGgoA", "mimeType": "image/png"},
            {"type": "image", "data": "PHN2Zz4=", "mimeType": "image/svg+xml"},
            {"type": "audio", "data": "YQ==", "mimeType": "audio/wav"},
            {"type": "resource", "resource": {"uri": "file:///b", "text": "b"}},
            {"type": "resource", "resource": {"uri": "file:///c", "mimeType": "image/gif", "blob": "R0lGODlh"}},
            {"type": "resource", "resource": {"uri": "file:///d", "blob": "ZA=="}},
            {"type": "resource_link", "uri": "file:///e", "name": "e"},
        ]});
        let text = |text: &str| Chunk::Text(text.to_owned());
        let image = |url: &str| Chunk::ImageUrl { url: url.to_owned(), detail: String::new() };
        assert_eq!(
            outcome(result, 1000),
            ToolOutcome {
                content: vec![
                    text("a"),
                    image("data:image/png;base64,iVBORw0KGgoA"),
                    text("[an image that models do not take: image/svg+xml]"),
                    Chunk::InputAudio { data: "YQ==".into() },
                    text("b"),
                    image("data:image/gif;base64,R0lGODlh"),
                    text("[a file that is no text: file:///d]"),
                    text("[e](file:///e)"),
                ],
                info: String::new(),
                error: None,
            }
        );
    }

    #[test]
    fn structured_content_is_the_content_where_there_is_no_other() {
        let alone = outcome(json!({"content": [], "structuredContent": {"a": 1}}), 100);
        assert_eq!(alone, ToolOutcome { info: r#"{"a":1}"#.into(), ..ToolOutcome::text(r#"{"a":1}"#) });
        let beside = outcome(json!({"content": [{"type": "text", "text": "a"}], "structuredContent": {"a": 1}}), 100);
        assert_eq!(beside, ToolOutcome { info: r#"{"a":1}"#.into(), ..ToolOutcome::text("a") });
    }

    #[test]
    fn an_error_says_why() {
        let failed = outcome(json!({"content": [{"type": "text", "text": " no file "}], "isError": true}), 100);
        assert_eq!(failed.error.as_deref(), Some("no file"));
        assert_eq!(outcome(json!({"content": [], "isError": true}), 100).error.as_deref(), Some("the tool failed"));
    }

    #[test]
    fn what_is_too_much_is_cut_and_says_so() {
        let result = json!({"content": [
            {"type": "text", "text": "aaé"}, {"type": "text", "text": "b"}, {"type": "image", "data": "/9j/", "mimeType": "image/jpeg"},
        ], "structuredContent": {"long": true}});
        let Chunk::Text(first) = &outcome(result.clone(), 3).content[0] else { panic!("a text") };
        assert_eq!(first, "aa\n[cut here: 4 bytes, and 3 are kept of a result]");
        let cut = outcome(result, 4);
        assert_eq!(cut.content[0], Chunk::Text("aaé".into()));
        assert_eq!(cut.content[1], Chunk::Text("\n[cut here: 1 bytes, and 4 are kept of a result]".into()));
        assert!(matches!(&cut.content[2], Chunk::Text(text) if text.starts_with("[an image is left out: 27 bytes")));
        assert_eq!(cut.info, "");
    }
}
