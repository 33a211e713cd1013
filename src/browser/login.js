(secrets) => {
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  const wait = async (selector, ms = 30000) => {
    const end = Date.now() + ms;
    for (;;) {
      const found = document.querySelector(selector);
      if (found) return found;
      if (Date.now() >= end) throw new Error('nothing matches ' + selector);
      await sleep(50);
    }
  };
  const fill = async (selector, value) => {
    const field = await wait(selector);
    field.focus();
    // The setter of the browser's own, past whatever a framework has put over it.
    const setter = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value')?.set;
    if (setter) setter.call(field, value);
    else field.textContent = value;
    for (const type of ['input', 'change']) field.dispatchEvent(new Event(type, { bubbles: true }));
  };
  // After the answer is on its way: the click may replace the page.
  const click = async (selector) => {
    const found = await wait(selector);
    setTimeout(() => found.click(), 0);
  };
  return { secrets, sleep, wait, fill, click };
}
