// Loaded into a child process before its program (node --import): when the parent is gone, even by SIGKILL, its end of
// the channel closes, and the child ends too, first politely. Without a channel it does nothing.

const graceMs = 5000;

function leave(): void {
  process.kill(process.pid, "SIGTERM");
  setTimeout(() => process.exit(1), graceMs).unref();
}

// The parent may have gone before this file was loaded; `connected` is undefined where there never was a channel.
if (process.connected === false) leave();
else process.on("disconnect", leave);
// Listening must not keep a program alive that has nothing else to do.
process.channel?.unref();
