//! Where lines come from: a person at a terminal, or a pipe.

use rustyline::{Config, DefaultEditor, error::ReadlineError};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Stdin, stdin},
    signal, task,
};

use crate::cli::Failure;

/// Where lines come from.
pub(super) enum Input {
    /// Line editing, with the lines of this session to go back to. They are kept nowhere else.
    Terminal(Option<Box<DefaultEditor>>),
    /// One message a line.
    Pipe(tokio::io::Lines<BufReader<Stdin>>),
}

/// What came.
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

impl Input {
    pub(super) fn open(interactive: bool) -> Result<Input, Failure> {
        if !interactive {
            return Ok(Input::Pipe(BufReader::new(stdin()).lines()));
        }
        let config = Config::builder().auto_add_history(true).build();
        let editor = DefaultEditor::with_config(config).map_err(|error| broken(&error))?;
        Ok(Input::Terminal(Some(Box::new(editor))))
    }

    /// The next line. The prompt and the text to begin with are for the terminal only.
    pub(super) async fn next(&mut self, prompt: &str, initial: &str) -> Result<Line, Failure> {
        match self {
            Input::Terminal(editor) => {
                let mut owned = editor.take().expect("it is put back below, and nothing else takes it");
                let (prompt, initial) = (prompt.to_owned(), initial.to_owned());
                let reading = task::spawn_blocking(move || {
                    let line = owned.readline_with_initial(&prompt, (&initial, ""));
                    (owned, line)
                });
                let (owned, line) = reading.await.map_err(|error| broken(&error))?;
                *editor = Some(owned);
                match line {
                    Ok(text) => Ok(Line::Text(text)),
                    Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                    Err(ReadlineError::Eof) => Ok(Line::End),
                    Err(error) => Err(broken(&error)),
                }
            }
            Input::Pipe(lines) => tokio::select! {
                line = lines.next_line() => {
                    Ok(line.map_err(|error| broken(&error))?.map_or(Line::End, Line::Text))
                }
                _ = signal::ctrl_c() => Ok(Line::Interrupted),
            },
        }
    }
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("the input cannot be read: {error}"))
}
