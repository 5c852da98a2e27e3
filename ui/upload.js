/* A file that is larger than the server takes is not sent: what to do instead is said in its place.
   Gradio would say a sentence of its own, in a corner. The words stand on the page (.too-large). */
(() => {
  const look = (event) => {
    const place = event.target.closest?.('.upload');
    const note = place?.parentElement.querySelector('.too-large');
    if (!note) return;
    const files = [...(event.dataTransfer?.files ?? event.target.files ?? [])];
    const large = files.find(({ size }) => size > Number(note.dataset.most));
    note.hidden = !large;
    if (!large) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    event.target.dispatchEvent(new DragEvent('dragleave', { bubbles: true }));
    if (event.type === 'change') event.target.value = ''; // so that it can be chosen again
    note.querySelector('.name').textContent = large.name;
    note.querySelector('.size').textContent = `${(large.size / 1e9).toFixed(1)} GB`;
    note.scrollIntoView({ block: 'nearest' });
  };
  for (const moment of ['change', 'drop']) addEventListener(moment, look, true);
})();
