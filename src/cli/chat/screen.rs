//! What the user sees. Answers, and what a command was asked for, go to stdout; all else goes to stderr. In a pipe there
//! are no colours, no prompts and no thinking: stdout holds what was asked for and nothing else.

use std::{
    env,
    io::{self, IsTerminal, Write, stderr, stdin, stdout},
};

use super::text;
use crate::proto::{Chunk, chunk};

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Where output goes.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    notes: Box<dyn Write + Send>,
    interactive: bool,
    colour: bool,
    /// What the answer that is being written ends with.
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a line.
    Idle,
    Thinking,
    Text,
}

impl Screen {
    /// This process's own: interactive if a person sits at both ends.
    pub(super) fn of_process() -> Screen {
        let interactive = stdin().is_terminal() && stdout().is_terminal();
        let colour = interactive && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Screen::new(Box::new(stdout()), Box::new(stderr()), interactive, colour)
    }

    fn new(out: Box<dyn Write + Send>, notes: Box<dyn Write + Send>, interactive: bool, colour: bool) -> Screen {
        Screen { out, notes, interactive, colour, state: State::Idle }
    }

    /// Whether a person sits at both ends.
    pub(super) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// A piece of an answer, at once.
    pub(super) fn piece(&mut self, chunk: &Chunk) -> io::Result<()> {
        match &chunk.kind {
            Some(chunk::Kind::Thinking(thinking)) if self.interactive => {
                self.enter(State::Thinking)?;
                self.write(&text::plain(&thinking.content))
            }
            Some(chunk::Kind::Thinking(_)) => Ok(()),
            _ => {
                self.enter(State::Text)?;
                self.write(&text::chunk_text(chunk))
            }
        }
    }

    /// The answer is over, or something else is to be said.
    pub(super) fn end_answer(&mut self) -> io::Result<()> {
        if self.state == State::Thinking && self.colour {
            self.out.write_all(PLAIN.as_bytes())?;
        }
        if self.state != State::Idle {
            self.state = State::Idle;
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }

    /// Something that was asked for.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.end_answer()?;
        self.write(text)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    /// Something beside the matter.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        self.break_answer()?;
        let text = self.safe(text);
        if self.colour { writeln!(self.notes, "{DIM}{text}{PLAIN}") } else { writeln!(self.notes, "{text}") }
    }

    /// Something that went wrong.
    pub(super) fn error(&mut self, failure: &dyn std::fmt::Display) -> io::Result<()> {
        self.break_answer()?;
        let text = self.safe(&failure.to_string());
        writeln!(self.notes, "{text}")
    }

    /// On a terminal notes stand among the answers; in a pipe they go elsewhere and must not break one in two.
    fn break_answer(&mut self) -> io::Result<()> {
        if self.interactive { self.end_answer() } else { Ok(()) }
    }

    fn enter(&mut self, state: State) -> io::Result<()> {
        match (self.state, state) {
            (before, after) if before == after => return Ok(()),
            (State::Thinking, _) if self.colour => write!(self.out, "{PLAIN}\n\n")?,
            (State::Thinking, _) => self.out.write_all(b"\n\n")?,
            (State::Text, _) => self.out.write_all(b"\n\n")?,
            (State::Idle, _) => {}
        }
        if state == State::Thinking {
            self.out.write_all(if self.colour { DIM.as_bytes() } else { b"(thinking) " })?;
        }
        self.state = state;
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let text = self.safe(text);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// A model's text must not steer the terminal. A pipe gets it as it is.
    fn safe(&self, text: &str) -> String {
        if !self.interactive {
            return text.to_owned();
        }
        text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::proto::Thinking;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no test panics with it").clone()).expect("only text is written")
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics with it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn text(text: &str) -> Chunk {
        Chunk { kind: Some(chunk::Kind::Text(text.into())) }
    }

    fn thinking(thought: &str) -> Chunk {
        let thinking = Thinking { content: vec![text(thought)], ..Thinking::default() };
        Chunk { kind: Some(chunk::Kind::Thinking(thinking)) }
    }

    /// An answer with a thought, a note in the middle, and what stands on stdout and stderr.
    fn answer(interactive: bool, colour: bool) -> (String, String) {
        let (out, notes) = (Paper::default(), Paper::default());
        let mut screen = Screen::new(Box::new(out.clone()), Box::new(notes.clone()), interactive, colour);
        let shown = (|| {
            screen.piece(&thinking("let me "))?;
            screen.piece(&thinking("see"))?;
            screen.piece(&text("\x1b[31mFor"))?;
            screen.piece(&text("ty"))?;
            screen.note("retrying")?;
            screen.piece(&text("-two"))?;
            screen.end_answer()
        })();
        shown.expect("paper takes all");
        (out.text(), notes.text())
    }

    #[test]
    fn a_terminal_shows_thinking_dimmed_and_is_not_steered() {
        let (out, notes) = answer(true, true);
        assert_eq!(out, "\x1b[2mlet me see\x1b[0m\n\n[31mForty\n-two\n");
        assert_eq!(notes, "\x1b[2mretrying\x1b[0m\n");
    }

    #[test]
    fn without_colours_thinking_is_marked_with_words() {
        assert_eq!(answer(true, false).0, "(thinking) let me see\n\n[31mForty\n-two\n");
    }

    #[test]
    fn a_pipe_gets_the_answer_and_nothing_else() {
        let (out, notes) = answer(false, false);
        // A note must not break the answer in two: it goes elsewhere.
        assert_eq!(out, "\x1b[31mForty-two\n");
        assert_eq!(notes, "retrying\n");
    }
}
