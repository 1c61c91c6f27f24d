//! The program: command line, configuration, bind, run, exit code.

use std::process::ExitCode;

use causerie::{
    cli::{
        self, Command, Failure, agents, batch, chat, export, import, providers, serve, tools, turns, watch, webhooks,
    },
    config::Config,
    server::{
        Error, OFFLINE_MODELS, OFFLINE_TOOL, ProviderCheck, Server, ToolCheck, ToolsCheck, check_providers, check_tools,
    },
};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::exit(match cli::parse() {
        Command::Serve(args) => serve_until_stopped(&args),
        Command::Agents(args) => cli::run(agents::run(args)),
        Command::Turns(args) => cli::run(turns::run(args)),
        Command::Batch(args) => cli::run(batch::run(args)),
        Command::Chat(args) => cli::run(chat::run(args)),
        Command::Webhooks(args) => cli::run(webhooks::run(args)),
        Command::Providers(args) => args.config().and_then(|config| cli::run(providers::run(checks(config)))),
        Command::Tools(args) => args.config().and_then(|config| {
            if args.logs() {
                serve::start_log(&config.log)?;
            }
            cli::run(show_tools(args, config))
        }),
        Command::Watch(args) => cli::run(watch::run(args)),
        Command::Export(args) => cli::run(export::run(args)),
        Command::Import(args) => cli::run(import::run(args)),
    })
}

fn serve_until_stopped(args: &serve::ServeArgs) -> Result<(), Failure> {
    let config = args.config()?;
    serve::start_log(&config.log)?;
    let listener = serve::bind(&config)?;
    let address = listener.local_addr().map_err(|error| Failure::new(format!("the address is lost: {error}")))?;
    cli::run(async {
        let stop = serve::stop_requested()?;
        let listener = TcpListener::from_std(listener).map_err(|error| Failure::caused(&error))?;
        let server = Server::open(config.clone()).await.map_err(|error| match &error {
            Error::Agents(_) => Failure::usage(error.to_string()),
            Error::Store(_)
            | Error::Provider(_)
            | Error::Recovery(_)
            | Error::Tools(_)
            | Error::DeclareAgents(_)
            | Error::Network(_)
            | Error::StoreFailed => Failure::caused(&error),
        })?;
        eprintln!("{}", serve::banner(&config, address, OFFLINE_MODELS, OFFLINE_TOOL));
        server.serve(listener, stop).await.map_err(|error| Failure::caused(&error))
    })
}

async fn checks(config: Config) -> Result<Vec<providers::Row>, Failure> {
    let checks = check_providers(&config).await.map_err(|error| Failure::caused(&error))?;
    Ok(checks.into_iter().map(row).collect())
}

fn row(check: ProviderCheck) -> providers::Row {
    let ProviderCheck {
        name,
        is_default,
        dialect,
        is_reachable,
        key,
        models,
        clock_skew_ms,
        round_trip,
        problem,
        is_usable,
    } = check;
    providers::Row {
        name,
        is_default,
        dialect,
        is_reachable,
        key,
        models,
        clock_skew_ms,
        round_trip,
        problem,
        is_usable,
    }
}

async fn show_tools(args: tools::ToolsArgs, config: Config) -> Result<(), Failure> {
    tools::run(&args, async {
        let found = check_tools(&config, args.server()).await.map_err(|error| Failure::caused(&error))?;
        Ok(found.into_iter().map(group).collect())
    })
    .await
}

fn group(check: ToolsCheck) -> tools::Group {
    let ToolsCheck { name, place, info, problem, tools } = check;
    let tool = |tool: ToolCheck| {
        let ToolCheck { name, own_name, description, parameters } = tool;
        tools::Row { name, own_name, description, parameters }
    };
    tools::Group { name, place, info, problem, tools: tools.into_iter().map(tool).collect() }
}
