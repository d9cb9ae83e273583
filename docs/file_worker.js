// Lets the search of the site run in a page that was opened as a file: browsers start no worker there.
// A frame of the same page takes the worker's place.
if (location.protocol === "file:") {
  const answers = (window.fileWorkers = []);
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const url = new URL(address, location.href).href;
      const number = answers.push(data => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      }) - 1;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.loaded = new Promise(done => (this.frame.onload = done));
      const setUp = `postMessage = data => parent.fileWorkers[${number}](data);` +
        "importScripts = (...all) => Promise.all(all.map(each => new Promise((done, failed) => {" +
        "const script = document.createElement('script'); script.src = each;" +
        "script.onload = done; script.onerror = failed; document.head.append(script); })));";
      this.frame.srcdoc = `<script>${setUp}</` + `script><script src="${url}"></` + "script>";
      document.body.append(this.frame);
    }
    postMessage(data) {
      this.loaded.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
