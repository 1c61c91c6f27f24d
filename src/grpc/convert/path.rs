//! Where in a request a field stands, such as `inputs[0].message_input.content[1].image_url.url`.

use std::fmt;

/// A field's place. A chain of borrowed parts: it costs nothing until it is printed, and most fields break no rule.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Field(&'a str),
    Item(&'a str, usize),
    Pair(&'a str, &'a str),
}

impl<'a> Path<'a> {
    /// Where a message begins: `""`, or where it stands in the one that carries it, such as `"start"`.
    pub const fn root(prefix: &'a str) -> Path<'a> {
        Path { parent: None, part: Part::Field(prefix) }
    }

    /// A field of what stands here.
    pub const fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Field(name) }
    }

    /// An item of a list that stands here.
    pub const fn item(&'a self, list: &'a str, index: usize) -> Path<'a> {
        Path { parent: Some(self), part: Part::Item(list, index) }
    }

    /// A pair of a map that stands here.
    pub const fn pair(&'a self, map: &'a str, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Pair(map, key) }
    }

    fn is_empty(&self) -> bool {
        self.parent.is_none() && matches!(self.part, Part::Field(""))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent.filter(|parent| !parent.is_empty()) {
            write!(f, "{parent}.")?;
        }
        match self.part {
            Part::Field(name) => f.write_str(name),
            Part::Item(list, index) => write!(f, "{list}[{index}]"),
            Part::Pair(map, key) => write!(f, "{map}[{key:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn prints_like_the_field_paths_of_bad_request() {
        let root = Path::root("");
        let item = root.item("inputs", 0);
        assert_eq!(item.field("message_input").item("content", 1).to_string(), "inputs[0].message_input.content[1]");
        assert_eq!(Path::root("start").pair("metadata", "a\"b").to_string(), r#"start.metadata["a\"b"]"#);
        assert_eq!(root.field("model").to_string(), "model");
    }
}
