/* “Tell me when it is done”: a notification of the browser when a run of this page ends. The page is
   made anew every few seconds; what is known of a run stands on its element (data-run, data-status,
   data-name, data-outcome), and the button stands apart, in .tell. */
(() => {
  const CHOSEN = 'graft-tell';
  const BUSY = new Set(['running', 'queued']);
  const TOLD = new Set(['completed', 'failed', 'stopped', 'paused']);
  const known = new Map(); // status by run

  const chosen = () => localStorage.getItem(CHOSEN) === 'yes';
  const problem = () => {
    if (!('Notification' in window)) return 'This browser can’t tell you when a run is done.';
    return Notification.permission === 'denied'
      ? 'To be told when a run is done, allow notifications for this page in your browser.' : '';
  };

  const tell = ({ run, name, outcome }) => {
    const note = new Notification(name, { body: outcome, tag: run });
    note.onclick = () => {
      window.focus();
      note.close();
      location.href = `runs?run=${encodeURIComponent(run)}`;
    };
  };

  const look = () => {
    const place = document.querySelector('.tell');
    if (!place) return;
    let busy = false;
    document.querySelectorAll('[data-run]').forEach(({ dataset }) => {
      const ended = BUSY.has(known.get(dataset.run)) && TOLD.has(dataset.status);
      if (ended && chosen() && !problem() && Notification.permission === 'granted') tell(dataset);
      known.set(dataset.run, dataset.status);
      busy ||= BUSY.has(dataset.status);
    });
    const button = place.querySelector('button');
    const line = place.querySelector('p');
    place.hidden = !busy;
    button.hidden = problem() !== '';
    line.hidden = !button.hidden;
    if (line.textContent !== problem()) line.textContent = problem();
    const on = chosen() && !problem() && Notification.permission === 'granted';
    button.setAttribute('aria-pressed', on);
  };

  addEventListener('click', async (event) => {
    const button = event.target.closest?.('.tell button');
    if (!button) return;
    const on = button.getAttribute('aria-pressed') !== 'true';
    if (on) await Notification.requestPermission();
    localStorage.setItem(CHOSEN, on ? 'yes' : 'no');
    look();
  });
  setInterval(look, 500);
})();
