import './base.css';
import './models.css';
import './history.css';
import './transcript.css';
import './composer.css';
import './notebook.css';
