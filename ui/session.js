/* A session that has ended, as over night: the page leads to the login, and from there to itself. */
(() => {
  const fetched = window.fetch;
  window.fetch = async (...question) => {
    const answer = await fetched(...question);
    const ours = new URL(answer.url, location.href).origin === location.origin;
    if (answer.status === 401 && ours) location.reload();
    return answer;
  };
})();
