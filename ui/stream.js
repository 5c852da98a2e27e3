/* Gradio's server ends a page's stream of answers once nothing is left to answer. A question that
   is put in that very moment would never be answered: for the server the stream has ended, for the
   page it is still open, so nobody opens another. Here the page is not told of the end while
   anything is unanswered; the same stream goes on with a new request. */
(() => {
  const fetched = window.fetch;
  const unanswered = new Set();
  const answered = new Set(); // those whose number was told later than the answer
  let asking = 0; // questions whose number the server has not told yet

  const ask = async (request) => {
    asking += 1;
    try {
      const response = await request();
      if (response.ok) {
        const { event_id } = await response.clone().json();
        if (!answered.delete(event_id)) unanswered.add(event_id);
      }
      return response;
    } finally {
      asking -= 1;
    }
  };

  /* Pass messages on; returns the one that ends the stream, which is not passed on. */
  const pass = async (response, on) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ''; ;) {
      const { value, done } = await reader.read();
      if (done) return null;
      const messages = (text + value).split('\n\n');
      text = messages.pop();
      for (const message of messages) {
        if (message.includes('"msg":"close_stream"')) return message;
        if (message.includes('"msg":"process_completed"')) {
          const id = /"event_id":"([^"]+)"/.exec(message)?.[1];
          if (!unanswered.delete(id)) answered.add(id);
        }
        on(message);
      }
    }
  };

  const answers = async (request) => {
    const first = await request();
    if (!first.ok) return first;
    const encoder = new TextEncoder();
    const start = async (stream) => {
      const on = (message) => stream.enqueue(encoder.encode(`${message}\n\n`));
      try {
        for (let response = first; ; response = await request()) {
          const end = await pass(response, on);
          while (end && asking) await new Promise((soon) => setTimeout(soon, 10));
          if (end && response.ok && unanswered.size) continue;
          unanswered.clear();
          if (end) on(end);
          stream.close();
          return;
        }
      } catch (problem) {
        stream.error(problem);
      }
    };
    return new Response(new ReadableStream({ start }), first);
  };

  window.fetch = (what, how) => {
    const request = () => fetched(what, how);
    const { pathname } = new URL(what.url ?? what, location.href);
    if (pathname.endsWith('/queue/join')) return ask(request);
    return pathname.endsWith('/queue/data') ? answers(request) : request();
  };
})();
