/* What went wrong in an action is said to whoever pressed the button. Gradio says it for what goes
   through its queue; of a request that is answered directly (page.DIRECT) it drops the sentence. */
(() => {
  const STAYS = 12000; // ms, unless somebody points at it or is in it

  const place = () => {
    const there = document.querySelector('.said');
    if (there) return there;
    const made = Object.assign(document.createElement('div'), { className: 'said' });
    return (document.querySelector('.gradio-container') ?? document.body).appendChild(made);
  };

  const say = (html) => {
    // Escaped for a page that would show it as HTML: here it becomes plain text again.
    const text = new DOMParser().parseFromString(html, 'text/html').body.textContent;
    for (const same of place().children) if (same.dataset.text === text) same.remove();
    const note = document.createElement('div');
    note.className = 'notice bad';
    note.setAttribute('role', 'alert');
    note.dataset.text = text;
    const [word, told, close] = ['strong', 'p', 'button'].map((tag) => document.createElement(tag));
    word.className = 'word';
    word.textContent = 'Problem';
    told.textContent = text;
    close.type = 'button';
    close.className = 'button quiet';
    close.textContent = 'Close';
    close.onclick = () => note.remove();
    note.append(word, told, close);
    place().append(note);
    const leave = () => (note.matches(':hover, :focus-within') ? setTimeout(leave, 2000) : note.remove());
    setTimeout(leave, STAYS);
  };

  const fetched = window.fetch;
  window.fetch = async (...question) => {
    const answer = await fetched(...question);
    if (answer.status === 500 && new URL(answer.url, location.href).pathname.endsWith('/run/predict')) {
      const told = await answer.clone().json().catch(() => ({}));
      if (typeof told.error === 'string') say(told.error);
    }
    return answer;
  };
})();
