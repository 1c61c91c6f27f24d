//! Clients that others wrote: scripts in tests/clients, run by programs that may not be on the machine.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::Path,
    process::Command,
};

/// A program that runs a script of tests/clients.
pub(crate) struct Program {
    /// The environment variable that names it. Without it the checks are skipped.
    pub(crate) variable: &'static str,
    /// How to get it and name it.
    to_enable: &'static str,
}

/// A Python with the packages of tests/clients/requirements.txt.
pub(crate) const PYTHON: Program = Program {
    variable: "CAUSERIE_PYTHON",
    to_enable: "python3 -m venv VENV && VENV/bin/pip install -r tests/clients/requirements.txt && \
                export CAUSERIE_PYTHON=$PWD/VENV/bin/python",
};

/// `buf`, for its `curl`.
pub(crate) const BUF: Program = Program {
    variable: "CAUSERIE_BUF",
    to_enable: "npm install --prefix DIR @bufbuild/buf && export CAUSERIE_BUF=$PWD/DIR/node_modules/.bin/buf",
};

/// An MCP server of the protocol's own makers.
pub(crate) const MCP_EVERYTHING: Program = Program {
    variable: "CAUSERIE_MCP_EVERYTHING",
    to_enable: "npm install --prefix DIR @modelcontextprotocol/server-everything && \
                export CAUSERIE_MCP_EVERYTHING=$PWD/DIR/node_modules/.bin/mcp-server-everything",
};

/// The folder of node's packages for browsers: clients of gRPC-Web, and what drives a browser.
pub(crate) const WEB_CLIENTS: Program = Program {
    variable: "CAUSERIE_WEB_CLIENTS",
    to_enable: "npm install --prefix DIR playwright-core @connectrpc/connect-web @connectrpc/connect @bufbuild/protobuf && \
                export CAUSERIE_WEB_CLIENTS=$PWD/DIR/node_modules",
};

/// A browser.
pub(crate) const CHROMIUM: Program = Program {
    variable: "CAUSERIE_CHROMIUM",
    to_enable: "apt-get install chromium && export CAUSERIE_CHROMIUM=/usr/bin/chromium",
};

impl Program {
    /// Where it is, if the environment says so.
    pub(crate) fn path(&self) -> Option<OsString> {
        std::env::var_os(self.variable).filter(|value| !value.is_empty())
    }

    /// Runs a script with one argument and fails the test if one of its checks failed; says so loudly if it cannot be run.
    pub(crate) async fn check(&'static self, script: &'static str, argument: String) {
        self.check_with(script, argument, &[]).await;
    }

    /// The same with further variables in the script's environment.
    pub(crate) async fn check_with(
        &'static self,
        script: &'static str,
        argument: String,
        variables: &[(&'static str, OsString)],
    ) {
        let Some(program) = self.path() else { return self.skip(script) };
        let mut command = self.command(&program, script, &argument);
        command.envs(variables.iter().cloned());
        let run = tokio::task::spawn_blocking(move || {
            let run = command.output();
            run.unwrap_or_else(|error| panic!("{}, which {} needs, cannot be run: {error}", program.display(), script))
        });
        let output = run.await.expect("no panic");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{out}{err}");
        // The closing line as well: a script that ends early has failed too, whatever its exit code.
        let closed = out.lines().last().is_some_and(|line| line.ends_with(" passed, 0 failed"));
        assert!(output.status.success() && closed, "checks of {script} failed ({})", output.status);
    }

    /// How a script is run. Scripts for node find their packages in the folder that stands for the program.
    pub(crate) fn command(&self, program: &OsStr, script: &str, argument: &str) -> Command {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
        let by = match path.extension().and_then(OsStr::to_str) {
            Some("sh") => OsStr::new("bash"),
            Some("cjs") => OsStr::new("node"),
            _ => program,
        };
        let mut command = Command::new(by);
        // A relative path in the variable is meant from where cargo runs the tests, which is this directory too.
        command.arg(path).arg(argument).env(self.variable, program);
        if by == "node" {
            command.env("NODE_PATH", program);
        }
        command
    }

    /// Written to the process's stderr itself: the test harness keeps what the print macros say in a test that passes.
    pub(crate) fn skip(&self, what: &str) {
        let Program { variable, to_enable } = self;
        skip(what, &format!("{variable} is not set. To enable: {to_enable}"));
    }
}

/// Says that a check is not made, and why, so that nobody overlooks it.
pub(crate) fn skip(what: &str, why: &str) {
    let line = format!("\nSKIPPED {what}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
}
