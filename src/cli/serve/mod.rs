//! `hive serve`: a server that OpenAI's clients can ask, on this machine.

mod http;
mod protocol;
mod queue;

use std::net::{IpAddr, SocketAddr, TcpListener};

use super::args::Args;
use super::chat::{Chosen, called};
use super::fault::Fault;
use super::output::{say, warn};
use crate::platform::{block_on, spawn, variable, watch_signals};
use http::Server;
use queue::Queue;

const HELP: &str = "\
hive serve --model NAME|FILE|FOLDER|ID: answers clients of OpenAI's chat completions, with pictures as data URLs, until Ctrl-C

  POST /v1/chat/completions, also streamed; GET /v1/models, /health. One conversation is answered at a time, the others wait; one whose
  client goes away is ended. Nothing is read but the model, and nothing is fetched.

  --model, --weights, --room, --memory, --tiles   as hive ask has them
  --host ADDRESS     127.0.0.1 (default): this machine alone. Others only with --key
  --port N           default 8080; 0: any that is free
  --key KEY          what clients must know (or the variable HIVE_KEY, which others on this machine do not see)
  --name NAME        what the model is called (default: as --model has it)
  --limit N          tokens of an answer at most (default: as many as there is room for)
  --queue N          conversations that may wait (default 64)
  --body MIB         a request at most (default 32)
";

/// The command.
pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options =
        ["model", "weights", "room", "memory", "tiles", "host", "port", "key", "name", "limit", "queue", "body"];
    let Some(args) = Args::or_help(list, (0, &options), &[], HELP)? else { return Ok(()) };
    let host = args.option("host").unwrap_or("127.0.0.1");
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let host: IpAddr =
        host.parse().map_err(|_unparsed| Fault::usage(format!("--host is an address as 127.0.0.1, not \"{host}\"")))?;
    let unreadable = |e| Fault::Failed(format!("HIVE_KEY: {e}"));
    let key = match args.option("key") {
        Some(key) => Some(key.to_owned()),
        None => variable("HIVE_KEY").map_err(unreadable)?,
    };
    if key.as_ref().is_some_and(|key| key.trim().is_empty()) {
        return Err(Fault::usage("--key is empty"));
    }
    if !host.is_loopback() && key.is_none() {
        return Err(Fault::usage(format!("--host {host} lets other machines ask: it needs --key")));
    }
    let waiting: usize = args.number("queue")?.unwrap_or(64);
    let body: usize = args.number("body")?.unwrap_or(32);
    let body = body.checked_mul(1 << 20).filter(|body| *body > 0);
    let body = body.ok_or_else(|| Fault::usage("--body is a number of MiB, 1 at least"))?;
    let limit: usize = args.number("limit")?.unwrap_or(usize::MAX);
    if limit == 0 {
        return Err(Fault::usage("--limit is 1 at least"));
    }
    let address = SocketAddr::new(host, args.number("port")?.unwrap_or(8080));
    let taken = |e| Fault::Failed(format!("cannot listen at {address} ({e}): give another --port"));
    let listener = TcpListener::bind(address).map_err(taken)?;
    listener.set_nonblocking(true).map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;

    let chosen = Chosen::of(&args)?;
    let model = args.option("model").unwrap_or("grounds");
    let name = args.option("name").map_or_else(|| called(model), str::to_owned);
    let words = chosen.meta().map(|meta| meta.tokenizer.clone());
    let several = chosen.takes_several();
    let assistant = chosen.start(&args)?;
    let (queue, work) = Queue::new(assistant, several, waiting);
    watch_signals();
    say(&format!("{name} answers at http://{address}/v1\n"));
    let server = Server {
        queue,
        name,
        key,
        local: host.is_loopback(),
        limit,
        body,
        words,
        asked: std::sync::atomic::AtomicU64::new(0),
    };
    spawn("server", move || async move {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Err(e) = runtime.and_then(|runtime| runtime.block_on(http::serve(listener, server))) {
            warn(&format!("the server has stopped: {e}\n"));
        }
    });
    // Ends when the server does.
    block_on(work.all());
    Ok(())
}
